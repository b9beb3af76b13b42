package storetest

import (
	"bytes"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"

	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/object"
	"tare.dev/tare/internal/pack"
	"tare.dev/tare/internal/store"
	"tare.dev/tare/test/built"
)

// A recording is all that a disk heard while commands ran on it.
type recording struct {
	base    *content
	log     []logged
	history history
	judge   *judge
}

// A recorder runs commands on a disk.
type recorder struct {
	t *testing.T
	*recording
	fs       *mounted
	disk     *disk
	device   device
	registry *registry
}

// product makes images as releases of one product are: much in common, nothing in the same layer.
func product(t *testing.T) *shelf {
	s := newShelf()
	common := files("usr/lib", 1, 40, 60_000)
	big := files("usr/lib/big", 2, 1, 3<<20)[:1]
	s.image(t, "1", layerOf(t, append(common, big...)...), layerOf(t, files("app", 3, 25, 90_000)...))
	s.image(t, "2", layerOf(t, append(common[10:], files("app", 4, 25, 90_000)...)...), layerOf(t, big...))
	s.image(t, "3", layerOf(t, append(common[:20], files("app", 5, 10, 1_200_000)...)...))
	small := files("usr/share", 6, 600, 6000)
	s.image(t, "many", layerOf(t, small...))
	s.image(t, "few", layerOf(t, small[:40]...))
	return s
}

// stocked is the product, with one release packed, and its judge: made once, which takes a second.
var stocked struct {
	once  sync.Once
	shelf *shelf
	judge *judge
}

func stock(t *testing.T) (*shelf, *judge) {
	t.Helper()
	stocked.once.Do(func() {
		s := product(t)
		s.packed(t, "2", "packed")
		j, err := newJudge(s, filepath.Join(t.TempDir(), "peace"))
		must(t, err)
		stocked.shelf, stocked.judge = s, j
	})
	s := *stocked.shelf
	s.tags = maps.Clone(s.tags)
	return &s, &judge{&s, maps.Clone(stocked.judge.trees)}
}

// newRecorder makes a disk with an empty file system, and mounts it.
func newRecorder(t *testing.T, k filesystem, program string, slow time.Duration) *recorder {
	t.Helper()
	needFilesystem(t, k.name)
	s, j := stock(t)
	base := k.empty(t)
	var err error
	r := &recorder{t: t, recording: &recording{base: base, judge: j}, disk: newDisk(t, base, slow), registry: newRegistry(t, s)}
	at := t.TempDir()
	f := r.disk.open(t)
	defer f.Close()
	r.fs, err = k.mount(f, at, k.options)
	must(t, err)
	t.Cleanup(func() {
		if r.fs != nil {
			must(t, r.fs.unmount())
		}
	})
	// Slow enough that the file system's own clock ticks in the middle of a pull.
	r.registry.pause = 3 * time.Millisecond
	r.device = device{path: program, root: at}
	return r
}

// run runs a command that succeeds, and enters what it changes.
func (r *recorder) run(change func(*model), args ...string) {
	r.t.Helper()
	begin := r.disk.position()
	r.device.must(r.t, args...)
	r.enter(strings.Join(args[:min(2, len(args))], " "), begin, r.disk.position(), change)
}

func (r *recorder) enter(what string, begin, end int, change func(*model)) {
	r.history.steps = append(r.history.steps, step{what, begin, end, change})
}

// pull pulls a tag of the registry.
func (r *recorder) pull(tag string) {
	r.t.Helper()
	r.run(pulled(r.name(tag), r.registry.tags[tag]), r.registry.pull(tag)...)
	r.history.steps[len(r.history.steps)-1].what = "pull " + tag
}

// killed begins a pull and kills it when a part of it has come.
func (r *recorder) killed(tag string, part int64) {
	r.t.Helper()
	begin := r.disk.position()
	r.registry.take()
	cmd := r.device.command(r.registry.pull(tag)...)
	must(r.t, cmd.Start())
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		r.registry.mu.Lock()
		served := r.registry.served
		r.registry.mu.Unlock()
		if served >= part {
			break
		}
	}
	must(r.t, cmd.Process.Kill())
	_ = cmd.Wait()
	r.enter("killed pull "+tag, begin, -1, pulled(r.name(tag), r.registry.tags[tag]))
}

// settle waits until the file system's own clock has ticked: it does every second, rounded up (jbd2,
// round_jiffies_up).
func (r *recorder) settle() { time.Sleep(2200 * time.Millisecond) }

func (r *recorder) name(tag string) string { return r.registry.name(r.registry.host, tag) }

// done unmounts the file system, and returns what was recorded until then.
func (r *recorder) done() *recording {
	r.t.Helper()
	end := r.disk.position()
	must(r.t, r.fs.unmount())
	r.fs = nil
	r.log = r.disk.log[:end]
	return r.recording
}

// life is the days of a store: pulls, an update under the same tag, removals, a killed pull.
func (r *recorder) life() *recording {
	g := r.registry
	one, two, three := g.tags["1"], g.tags["2"], g.tags["3"]
	r.pull("1")
	r.pull("packed")
	r.pull("2")
	g.tags["stable"] = one
	r.pull("stable")
	r.settle()
	g.tags["stable"] = two
	r.pull("stable")
	r.run(pulled(r.name("old"), one), "tag", r.name("1"), r.name("old"))
	r.run(untagged(r.name("1")), "rmi", "--no-gc", r.name("1"))
	r.run(removed(one, r.name("old")), "rmi", "--no-gc", r.name("old"))
	r.killed("3", 1_000_000)
	r.settle()
	r.pull("3") // takes what the killed one left
	r.run(removed(two, r.name("2"), r.name("stable")), "rmi", string(two))
	r.pull("1")
	r.run(removed(g.tags["packed"], r.name("packed")), "rmi", r.name("packed"))
	r.killed("packed", 300_000)
	r.settle()
	r.pull("packed")
	r.run(removed(three, r.name("3")), "rmi", r.name("3"))
	r.settle()
	return r.done()
}

// care is what is done for a store that has aged: objects rot, are found and mended, and the base
// system's files become objects.
func (r *recorder) care() *recording {
	t, g := r.t, r.registry
	r.pull("1")
	r.pull("2")
	rotten := r.rot(r.registry.tags["1"], 3)
	r.settle()
	v := r.device.try(t, "store", "verify")
	if n := strings.Count(v.stdout, "damaged: object") + strings.Count(v.stdout, "damaged: pack"); v.code != 1 || n != len(rotten) {
		t.Errorf("want %d damaged objects: %v", len(rotten), v)
	}
	r.run(mended, "store", "repair", "--plain-http", g.host)
	r.run(func(*model) {}, "store", "verify")
	r.settle()
	r.thin()
	base := r.base()
	begin := r.disk.position()
	r.device.must(t, "store", "adopt", "--name", "tare.local/base:1", base)
	r.enter("adopt", begin, r.disk.position(), pulled("tare.local/base:1", r.found("tare.local/base:1")))
	r.settle()
	r.run(removed(g.tags["1"], r.name("1")), "rmi", r.name("1"))
	r.run(func(*model) {}, "store", "gc")
	r.settle()
	return r.done()
}

// thin removes an image that shares a pack with another, which needs little of it: gc makes the pack anew.
func (r *recorder) thin() {
	g := r.registry
	r.pull("many")
	r.pull("few")
	before := r.smallPacks("few")
	r.run(removed(g.tags["many"], r.name("many")), "rmi", r.name("many"))
	if after := r.smallPacks("few"); slices.Equal(before, after) {
		r.t.Errorf("gc has left the packs %v", after)
	}
	r.settle()
}

// smallPacks is the packs of small files of an image.
func (r *recorder) smallPacks(tag string) []digest.Digest {
	st, err := store.Open(filepath.Join(r.device.root, "store"), store.Options{})
	must(r.t, err)
	defer st.Close()
	i, err := st.Image(r.registry.tags[tag])
	must(r.t, err)
	packs, err := i.SmallPacks()
	must(r.t, err)
	return packs
}

// base writes the files of a base system, some of which images have too: none is on the disk yet.
func (r *recorder) base() (dir string) {
	dir = filepath.Join(r.device.root, "base")
	for _, f := range append(files("usr/lib", 1, 40, 60_000), files("usr/bin", 9, 10, 50_000)...) {
		must(r.t, os.MkdirAll(filepath.Dir(filepath.Join(dir, f.name)), 0o755))
		must(r.t, os.WriteFile(filepath.Join(dir, f.name), f.data, 0o644))
	}
	return dir
}

// rot changes bytes of n objects of an image on the medium, and of one in a pack of small files. It returns what
// is damaged then: these, and the pack.
func (r *recorder) rot(d digest.Digest, n int) []object.Digest {
	t := r.t
	st, err := store.Open(filepath.Join(r.device.root, "store"), store.Options{})
	must(t, err)
	defer st.Close()
	i, err := st.Image(d)
	must(t, err)
	var all []object.Digest
	must(t, i.Objects(func(_ string, d object.Digest, size int64) error {
		if size > store.Small && len(all) < n && !slices.Contains(all, d) {
			all = append(all, d)
		}
		return nil
	}))
	begin := r.disk.position()
	for _, d := range all {
		r.spoil(filepath.Join(st.Objects().Path(), d.Path()), 100)
	}
	packs, err := i.SmallPacks()
	must(t, err)
	small, at := smallFile(t, st.PackPath(packs[0]))
	r.spoil(st.PackPath(packs[0]), at)
	self, err := object.Parse(packs[0].Encoded())
	must(t, err)
	all = append(all, small, self)
	r.enter("rot", begin, r.disk.position(), damaged(all...))
	return all
}

// spoil overwrites some bytes of a file.
func (r *recorder) spoil(path string, at int64) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(r.t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte("rotten"), at)
	must(r.t, err)
	must(r.t, f.Sync())
}

// smallFile is an object in a pack, and where in the pack its bytes are.
func smallFile(t *testing.T, path string) (small object.Digest, at int64) {
	t.Helper()
	whole, err := os.ReadFile(path)
	must(t, err)
	im, err := openPack(path)
	must(t, err)
	must(t, pack.Names(im, func(d object.Digest, nid erofs.NID) error {
		r, err := im.Contents(nid)
		if err != nil || r.Size() < 100 {
			return err
		}
		data, err := io.ReadAll(r)
		small, at = d, int64(bytes.Index(whole, data))
		return err
	}))
	return small, at
}

// found is the digest of an image that was made here, and enters its tree with the judge.
func (r *recorder) found(name string) digest.Digest {
	st, err := store.Open(filepath.Join(r.device.root, "store"), store.Options{})
	must(r.t, err)
	defer st.Close()
	i, err := st.Find(name)
	must(r.t, err)
	r.judge.trees[i.Digest], err = treeSum(i)
	must(r.t, err)
	return i.Digest
}

// crashStates is how many states each file system is tried in.
func crashStates(t *testing.T, usual int) int {
	t.Helper()
	text := os.Getenv("TARE_CRASH_STATES")
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	must(t, err)
	return n
}

// After a power cut at any moment every image that is there is whole, and what was acknowledged is
// there; and the store goes on as if nothing had been.
func TestPowerCutLeavesWholeImages(t *testing.T) {
	for _, k := range filesystems() {
		t.Run(k.name, func(t *testing.T) {
			rec := newRecorder(t, k, built.Tare(t), 2*time.Millisecond).life()
			report(t, rec, judgeCuts(t, k, rec, crashStates(t, map[string]int{"ext4": 500}[k.name]+150), 1))
		})
	}
}

// The same while damage is repaired, and the base system adopted: no image that was whole suffers.
func TestPowerCutDuringCare(t *testing.T) {
	for _, k := range filesystems() {
		t.Run(k.name, func(t *testing.T) {
			rec := newRecorder(t, k, built.Tare(t), 2*time.Millisecond).care()
			report(t, rec, judgeCuts(t, k, rec, crashStates(t, map[string]int{"ext4": 150}[k.name]+100), 1))
		})
	}
}

// An adoption that never comes to its end must not cost an image that was there: the files it puts in
// the place of objects may be younger than what is on the disk.
func TestPowerCutAfterAKilledAdoption(t *testing.T) {
	for _, k := range filesystems() {
		t.Run(k.name, func(t *testing.T) {
			r := newRecorder(t, k, built.Faulty(t), 0)
			r.pull("1")
			r.settle()
			base := r.base()
			// It is killed where it would make its image last.
			r.device.env = []string{"TARE_NO_BARRIER=2,3"}
			r.device.must(t, "store", "adopt", "--name", "tare.local/base:1", base)
			// What other programs do brings the names to the disk.
			f, err := os.Create(filepath.Join(r.device.root, "other"))
			must(t, err)
			must(t, f.Sync())
			must(t, f.Close())
			rec := r.done()
			disk := rec.base.clone()
			for _, w := range rec.log {
				disk.writeAt(w.data, w.offset)
			}
			image, err := disk.file()
			must(t, err)
			defer image.Close()
			at := t.TempDir()
			m, err := k.mount(image, at, k.replay)
			must(t, err)
			defer func() { must(t, m.unmount()) }()
			st, err := store.Open(filepath.Join(at, "store"), store.Options{})
			must(t, err)
			defer st.Close()
			i, err := st.Image(r.registry.tags["1"])
			must(t, err)
			must(t, rec.judge.whole(st, i, map[object.Digest]bool{}))
		})
	}
}

func report(t *testing.T, rec *recording, v *verdict) {
	t.Helper()
	t.Logf("%d states of %d log entries: %v; %v", v.states, len(rec.log), v.kinds, v.doing)
	for _, bad := range v.bad[:min(10, len(v.bad))] {
		t.Error(bad)
	}
	if len(v.bad) > 0 {
		t.Errorf("%d of %d states are bad", len(v.bad), v.states)
	}
}

// With a barrier left out the same test must find what it is for: a test that finds nothing may be
// blind.
func TestPowerCutFindsAMissingBarrier(t *testing.T) {
	program := built.Faulty(t)
	rmi := func(r *recorder) {
		one := r.registry.tags["1"]
		r.run(removed(one, r.name("1")), "rmi", "--no-gc", r.name("1"))
	}
	for name, c := range map[string]struct {
		leaveOut    string
		before, run func(r *recorder)
	}{
		// The second one would follow at once, so the process is taken for one that was killed there.
		"before an image gets its name": {"1,2", nil, func(r *recorder) {
			r.pull("1")
			r.history.steps[len(r.history.steps)-1].end = -1
		}},
		"before a pull tells of success": {"2", nil, func(r *recorder) { r.pull("1") }},
		"before rmi tells of success":    {"1", func(r *recorder) { r.pull("1") }, rmi},
		"before gc has an image use another pack": {"1,2", func(r *recorder) {
			r.pull("many")
			r.pull("few")
			r.run(removed(r.registry.tags["many"], r.name("many")), "rmi", "--no-gc", r.name("many"))
		}, func(r *recorder) { r.run(func(*model) {}, "store", "gc") }},
		"before tag tells of success": {"1", func(r *recorder) { r.pull("1") }, func(r *recorder) {
			r.run(pulled(r.name("new"), r.registry.tags["1"]), "tag", r.name("1"), r.name("new"))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRecorder(t, filesystems()[0], program, 0)
			if c.before != nil {
				c.before(r)
			}
			r.settle()
			r.device.env = []string{"TARE_NO_BARRIER=" + c.leaveOut}
			c.run(r)
			r.settle()
			v := judgeCuts(t, filesystems()[0], r.done(), 60, 1)
			t.Logf("%d of %d states are bad, such as: %.300v", len(v.bad), v.states, v.bad)
			if len(v.bad) == 0 {
				t.Error("found no bad state")
			}
		})
	}
}
