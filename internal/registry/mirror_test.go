package registry

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestMirrors(t *testing.T) {
	s := startRegistry(t, "", "")
	ctx := within(t, time.Minute)
	image, blob, _ := pushImage(t, ctx, newClient(t, s.host, Options{}), random(1<<20))

	empty := &recorder{}
	liar := &recorder{answer: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", ociManifest)
		fmt.Fprint(w, "{}")
	}}
	gone := freePort(t)
	emptyHost, liarHost := serve(t, empty), serve(t, liar)
	var notes []string
	c := newClient(t, s.host, Options{
		Mirrors: map[string][]string{s.host: {gone, emptyHost + "/pre/fix/", liarHost}},
		Retries: -1,
		Note:    func(s string) { notes = append(notes, s) },
	})
	if _, err := c.Manifest(ctx, image); err != nil {
		t.Error(err)
	}
	if r, err := c.Open(ctx, blob, 0); err != nil {
		t.Error(err)
	} else {
		r.Close()
	}
	if all := empty.all(); len(all) == 0 || all[len(all)-1].URL.Path != "/v2/pre/fix/team/app/blobs/"+string(blob.Digest) {
		t.Errorf("mirror was asked %v", all)
	}
	// The mirror that is gone is asked once; that the other has not got it is no news.
	if text := strings.Join(notes, "\n"); strings.Count(text, gone+": connect") != 1 || strings.Contains(text, emptyHost) || !strings.Contains(text, liarHost) {
		t.Errorf("notes: %s", text)
	}

	// What a mirror has is not asked of the registry, which may be out of reach.
	c = newClient(t, gone, Options{Mirrors: map[string][]string{gone: {s.host}}, Retries: -1})
	if d, err := c.Resolve(ctx, "1"); err != nil || d.Digest != image.Digest {
		t.Errorf("Resolve by mirror = %v, %v", d, err)
	}
	// Nothing is pushed to a mirror.
	wantError(t, c.Put(ctx, blob, strings.NewReader("x")), "connection refused")
}

func TestSuspectedMirror(t *testing.T) {
	right := &blobServer{blob: random(1000)}
	wrong := &blobServer{blob: make([]byte, 1000)}
	origin, mirror := serve(t, right), serve(t, wrong)
	d := describeBytes("x", right.blob)
	ctx := within(t, time.Minute)
	c := newClient(t, origin, Options{Mirrors: map[string][]string{origin: {mirror}}})
	if got, err := readAll(ctx, c, d); err != nil || !bytes.Equal(got, wrong.blob) {
		t.Fatalf("%d bytes, %v, want the mirror's", len(got), err)
	}
	if !c.Suspect(d) {
		t.Error("Suspect = false for what came from a mirror")
	}
	if got, err := readAll(ctx, c, d); err != nil || !bytes.Equal(got, right.blob) {
		t.Errorf("%d bytes, %v, want the registry's", len(got), err)
	}
	if c.Suspect(d) {
		t.Error("Suspect = true for what came from the registry")
	}
}
