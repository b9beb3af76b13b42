package registry

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/test/distribution"
)

// random returns n bytes that are the same at each call.
func random(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

func describeBytes(mediaType string, b []byte) v1.Descriptor {
	return v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
}

// pushImage pushes an image of one layer and returns its descriptor.
func pushImage(t *testing.T, ctx context.Context, c *Client, layer []byte) (image, blob v1.Descriptor, text []byte) {
	t.Helper()
	config := []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`)
	blob = describeBytes(v1.MediaTypeImageLayer, layer)
	configDescriptor := describeBytes(v1.MediaTypeImageConfig, config)
	if err := c.Put(ctx, blob, bytes.NewReader(layer)); err != nil {
		t.Fatal(err)
	}
	if err := c.Put(ctx, configDescriptor, io.LimitReader(bytes.NewReader(config), 1<<20)); err != nil {
		t.Fatal(err)
	}
	text = manifestOf(configDescriptor, blob)
	image = describeBytes(v1.MediaTypeImageManifest, text)
	if err := c.PutManifest(ctx, "1", image, text); err != nil {
		t.Fatal(err)
	}
	return image, blob, text
}

func manifestOf(config, layer v1.Descriptor) []byte {
	return []byte(`{"schemaVersion":2,"mediaType":"` + v1.MediaTypeImageManifest + `","config":` + text(config) + `,"layers":[` + text(layer) + `]}`)
}

func text(d v1.Descriptor) string {
	return `{"mediaType":"` + d.MediaType + `","digest":"` + string(d.Digest) + `","size":` + itoa(d.Size) + `}`
}

func TestRegistries(t *testing.T) {
	for name, v := range map[string]distribution.Version{"v2": distribution.V2, "v3": distribution.V3} {
		t.Run(name, func(t *testing.T) {
			if v == distribution.V3 && testing.Short() {
				t.Skip("takes long: builds distribution v3")
			}
			host := distribution.Start(t, v, distribution.Config{}).Host
			t.Run("push and pull", func(t *testing.T) { pushAndPull(t, host) })
			t.Run("mount", func(t *testing.T) { mount(t, host) })
			t.Run("wrong bytes", func(t *testing.T) { pushWrongBytes(t, host) })
			t.Run("index", func(t *testing.T) { index(t, host) })
			t.Run("referrers", func(t *testing.T) { referrers(t, host) })
		})
	}
}

func pushAndPull(t *testing.T, host string) {
	ctx := within(t, time.Minute)
	c := newClient(t, host, Options{})
	layer := random(3 << 20)
	image, blob, manifest := pushImage(t, ctx, c, layer)

	for _, name := range []string{"1", string(image.Digest)} {
		if d, err := c.Resolve(ctx, name); err != nil || d.Digest != image.Digest || d.Size != image.Size || d.MediaType != image.MediaType {
			t.Errorf("Resolve(%q) = %+v, %v, want %+v", name, d, err, image)
		}
	}
	if got, err := c.Manifest(ctx, image); err != nil || !bytes.Equal(got, manifest) {
		t.Errorf("Manifest = %q, %v", got, err)
	}
	for _, offset := range []int64{0, 1, 1 << 20, blob.Size - 1, blob.Size} {
		r, err := c.Open(ctx, blob, offset)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		r.Close()
		if err != nil || !bytes.Equal(got, layer[offset:]) {
			t.Errorf("Open at %d: %d bytes, %v", offset, len(got), err)
		}
	}
	for _, d := range []v1.Descriptor{image, blob} {
		if has, err := c.Has(ctx, d); err != nil || !has {
			t.Errorf("Has(%s) = %v, %v", d.MediaType, has, err)
		}
	}
	if has, err := c.Has(ctx, describeBytes("x", []byte("x"))); err != nil || has {
		t.Errorf("Has of what is not there = %v, %v", has, err)
	}
}

func TestNotThere(t *testing.T) {
	s := startRegistry(t, "", "")
	ctx := within(t, time.Minute)
	c := newClient(t, s.host, Options{})
	_, err := c.Resolve(ctx, "1")
	wantError(t, err, "resolve "+s.host+"/team/app:1: 404 not found")
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not fs.ErrNotExist", err)
	}
	missing := describeBytes(v1.MediaTypeImageManifest, []byte("{}"))
	_, err = c.Manifest(ctx, missing)
	wantError(t, err, "fetch "+s.host+"/team/app@"+string(missing.Digest), "manifest unknown")
	_, err = c.Open(ctx, missing, 0)
	wantError(t, err, "404 not found: blob unknown to registry")
}

func mount(t *testing.T, host string) {
	ctx := within(t, time.Minute)
	c := newClient(t, host, Options{})
	_, blob, _ := pushImage(t, ctx, c, random(1000))
	other := c.ref
	other.Repository = "other"
	d := c.a.Client(other)
	if done, err := d.Mount(ctx, blob, "team/app"); err != nil || !done {
		t.Errorf("Mount = %v, %v", done, err)
	}
	if has, err := d.Has(ctx, blob); err != nil || !has {
		t.Errorf("Has after Mount = %v, %v", has, err)
	}
	if done, err := d.Mount(ctx, describeBytes("x", []byte("nowhere")), "team/app"); err != nil || done {
		t.Errorf("Mount of what is not there = %v, %v", done, err)
	}
}

func pushWrongBytes(t *testing.T, host string) {
	ctx := within(t, time.Minute)
	c := newClient(t, host, Options{Retries: -1})
	d := describeBytes("x", []byte("right"))
	wantError(t, c.Put(ctx, d, strings.NewReader("wrong")), "push ", "digest")
	wantError(t, c.Put(ctx, d, strings.NewReader("rig")), "unexpected EOF")
	if err := c.Put(ctx, d, strings.NewReader("right")); err != nil {
		t.Error(err)
	}
	empty := describeBytes("x", nil)
	if err := c.Put(ctx, empty, strings.NewReader("")); err != nil {
		t.Errorf("Put of no bytes: %v", err)
	}
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func referrers(t *testing.T, host string) {
	ctx := within(t, time.Minute)
	c := newClient(t, host, Options{})
	image, _, _ := pushImage(t, ctx, c, random(1000))
	if all, err := c.Referrers(ctx, image, ""); err != nil || len(all) != 0 {
		t.Errorf("Referrers before any = %v, %v", all, err)
	}
	empty := v1.DescriptorEmptyJSON
	if err := c.Put(ctx, empty, strings.NewReader("{}")); err != nil {
		t.Fatal(err)
	}
	for _, artifactType := range []string{"test/a", "test/b", "test/b"} {
		artifact := []byte(`{"schemaVersion":2,"mediaType":"` + v1.MediaTypeImageManifest + `","artifactType":"` + artifactType +
			`","config":` + text(empty) + `,"layers":[` + text(empty) + `],"subject":` + text(image) + `,"annotations":{"from":"x"}}`)
		if err := c.PutManifest(ctx, "", describeBytes(v1.MediaTypeImageManifest, artifact), artifact); err != nil {
			t.Fatal(err)
		}
	}
	for artifactType, want := range map[string]int{"": 2, "test/b": 1, "test/c": 0} {
		all, err := c.Referrers(ctx, image, artifactType)
		if err != nil || len(all) != want {
			t.Errorf("Referrers(%q) = %v, %v, want %d", artifactType, all, err, want)
		}
		for _, d := range all {
			if d.ArtifactType == "" || d.Annotations["from"] != "x" {
				t.Errorf("referrer %+v lacks its type or annotation", d)
			}
		}
	}
}

// TestDockerSchema2 resolves and reads an image that skopeo pushed in docker's form.
func TestDockerSchema2(t *testing.T) {
	skopeo, err := exec.LookPath("skopeo")
	if err != nil {
		t.Skip("skopeo is not installed (see packages.txt)")
	}
	host := distribution.Start(t, distribution.V2, distribution.Config{}).Host
	ctx := within(t, time.Minute)
	c := newClient(t, host, Options{})
	var layer bytes.Buffer
	if err := tar.NewWriter(&layer).Close(); err != nil {
		t.Fatal(err)
	}
	pushTar(t, ctx, c, layer.Bytes())
	out, err := exec.CommandContext(ctx, skopeo, "--insecure-policy", "copy", "-q", "--format", "v2s2", "--src-tls-verify=false", "--dest-tls-verify=false",
		"docker://"+host+"/team/app:1", "docker://"+host+"/team/app:docker").CombinedOutput()
	if err != nil {
		t.Fatalf("skopeo: %v\n%s", err, out)
	}
	d, err := c.Resolve(ctx, "docker")
	if err != nil || d.MediaType != dockerManifest {
		t.Errorf("Resolve = %+v, %v, want %s", d, err, dockerManifest)
	}
	if _, err := c.Manifest(ctx, d); err != nil {
		t.Error(err)
	}
}

// pushTar pushes an image of one layer under the tag 1, with a config that is right for it.
func pushTar(t *testing.T, ctx context.Context, c *Client, layer []byte) v1.Descriptor {
	t.Helper()
	blob := describeBytes(v1.MediaTypeImageLayer, layer)
	config := []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["` + string(blob.Digest) + `"]}}`)
	configDescriptor := describeBytes(v1.MediaTypeImageConfig, config)
	manifest := manifestOf(configDescriptor, blob)
	image := describeBytes(v1.MediaTypeImageManifest, manifest)
	err := errors.Join(c.Put(ctx, blob, bytes.NewReader(layer)), c.Put(ctx, configDescriptor, bytes.NewReader(config)),
		c.PutManifest(ctx, "1", image, manifest))
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func index(t *testing.T, host string) {
	ctx := within(t, time.Minute)
	c := newClient(t, host, Options{})
	image := pushTar(t, ctx, c, random(1024))
	list := []byte(`{"schemaVersion":2,"mediaType":"` + v1.MediaTypeImageIndex + `","manifests":[` + text(image) + `]}`)
	want := describeBytes(v1.MediaTypeImageIndex, list)
	if err := c.PutManifest(ctx, "index", want, list); err != nil {
		t.Fatal(err)
	}
	d, err := c.Resolve(ctx, "index")
	if err != nil || d.Digest != want.Digest || d.MediaType != want.MediaType {
		t.Errorf("Resolve = %+v, %v, want %+v", d, err, want)
	}
	if got, err := c.Manifest(ctx, d); err != nil || !bytes.Equal(got, list) {
		t.Errorf("Manifest = %s, %v", got, err)
	}
}
