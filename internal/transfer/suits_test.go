package transfer_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/platform"
	"tare.dev/tare/internal/store"
	"tare.dev/tare/internal/transfer"
)

func TestImageForAnotherMachineIsRefused(t *testing.T) {
	p, s := newPlace(), newStore(t)
	p.layered(t, "app", tarOf(t, [2]string{"a", large})) // for amd64, by its config alone
	pull := func(machine string) error {
		wanted, err := platform.Parse(machine)
		if err != nil {
			t.Fatal(err)
		}
		_, err = transfer.Pull(t.Context(), p, "app", s, transfer.PullOptions{
			Choose: func(x v1.Index) (v1.Descriptor, error) { return platform.Choose(x, wanted) },
		})
		return err
	}
	for range 2 { // the second time it is there
		if err := pull("linux/arm64"); err == nil || !strings.Contains(err.Error(), "linux/amd64") {
			t.Errorf("on arm64: %v", err)
		}
		if err := pull("linux/amd64"); err != nil {
			t.Error(err)
		}
	}
}

func TestDamagedImageIsPulledAgain(t *testing.T) {
	p, s := newPlace(), newStore(t)
	p.layered(t, "app", tarOf(t, [2]string{"a", large}))
	got, err := transfer.Pull(t.Context(), p, "app", s, transfer.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	path, err := got.Image.TreePath()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 100); err != nil {
		t.Fatal(err)
	}
	if got, err = transfer.Pull(t.Context(), p, "app", s, transfer.PullOptions{}); err != nil || !got.New {
		t.Errorf("pulled again: new %v, %v", got.New, err)
	}
	if r, err := s.Verify(t.Context(), store.VerifyOptions{}); err != nil || len(r.Damaged) != 0 {
		t.Errorf("Verify = %+v, %v", r, err)
	}
}

func TestIndexNeedsAChoice(t *testing.T) {
	p, s := newPlace(), newStore(t)
	p.named["several"] = p.document(t, v1.MediaTypeImageIndex, v1.Index{
		MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{p.image(t, "amd64")},
	})
	if _, err := transfer.Pull(t.Context(), p, "several", s, transfer.PullOptions{}); !errors.Is(err, transfer.ErrManifest) {
		t.Errorf("err = %v", err)
	}
}
