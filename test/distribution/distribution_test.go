package distribution

import (
	"net/http"
	"testing"
)

func TestStart(t *testing.T) {
	for _, v := range []Version{V2, V3} {
		if v == V3 && testing.Short() {
			continue
		}
		r := Start(t, v, Config{})
		resp, err := http.Get("http://" + r.Host + "/v2/")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("version %d answers %s", v, resp.Status)
		}
	}
}
