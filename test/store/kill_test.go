package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tare.dev/tare/internal/object"
	"tare.dev/tare/internal/pack"
	"tare.dev/tare/internal/store"
	"tare.dev/tare/test/built"
)

// sharedDevice is a device with a judge for its store.
func sharedDevice(t *testing.T) (device, *registry, *judge) {
	t.Helper()
	needRoot(t)
	s := product(t)
	j, err := newJudge(s, filepath.Join(t.TempDir(), "peace"))
	must(t, err)
	return device{path: built.Tare(t), root: t.TempDir()}, newRegistry(t, s), j
}

// anything allows every image to be there or not; those that are there must be whole.
func (j *judge) anything() *model {
	m := newModel()
	for d := range j.shelf.manifests {
		m.images[d] = []bool{true, false}
	}
	return m
}

// A command that is killed at any moment leaves whole images, and the next one goes on.
func TestKilledAtAnyMoment(t *testing.T) {
	d, g, j := sharedDevice(t)
	g.pause = 2 * time.Millisecond
	dir := filepath.Join(d.root, "store")
	r := rand.New(rand.NewPCG(1, 3))
	killed := 0
	d.must(t, g.pull("1")...)
	for range 60 {
		args := [][]string{
			g.pull("2"), g.pull("3"), {"rmi", g.name(g.host, "2")}, {"store", "gc"}, {"tag", g.name(g.host, "1"), g.name(g.host, "x")},
		}[r.IntN(5)]
		cmd := d.command(args...)
		must(t, cmd.Start())
		timer := time.AfterFunc(time.Duration(r.IntN(60))*time.Millisecond, func() { cmd.Process.Kill() })
		err := cmd.Wait()
		timer.Stop()
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() < 0 {
			killed++
		}
		if err := j.store(dir, j.anything()); err != nil {
			t.Fatalf("%s, killed: %v", args, err)
		}
	}
	t.Logf("%d of 60 commands were killed", killed)
	if killed < 10 {
		t.Errorf("only %d of 60 commands were killed", killed)
	}
	g.pause = 0
	for _, tag := range []string{"1", "2", "3"} {
		d.must(t, g.pull(tag)...)
	}
	d.must(t, "store", "verify")
	must(t, j.goesOn(dir, nil))
}

// A pull after one that was killed writes no file again that the killed one had written, but the small ones: their
// pack goes with who makes it.
func TestKilledPullIsNotWrittenAgain(t *testing.T) {
	d, g, _ := sharedDevice(t)
	var layers [][]byte
	for n := range 4 {
		layers = append(layers, layerOf(t, files(fmt.Sprint("part", n), uint64(10+n), 40, 40_000)...))
	}
	top := g.image(t, "parts", layers...)
	total := int64(0)
	for _, l := range layers {
		total += int64(len(squeeze(t, l)))
	}
	written := func() int64 {
		var n int64
		st, err := store.Open(filepath.Join(d.root, "store"), store.Options{})
		must(t, err)
		defer st.Close()
		count := func(_ object.Digest, size int64) error { n += size; return nil }
		must(t, st.Objects().All(count))
		i, err := st.Image(top.Digest)
		if err != nil {
			return n // not yet
		}
		small, err := i.SmallPacks()
		must(t, err)
		for _, p := range small {
			im, err := openPack(st.PackPath(p))
			must(t, err)
			must(t, pack.List(im, count))
		}
		return n
	}
	g.pause = 2 * time.Millisecond
	for _, share := range []int64{20, 45, 70, 95} {
		g.take()
		cmd := d.command(g.pull("parts")...)
		must(t, cmd.Start())
		for g.sofar() < total*share/100 {
			time.Sleep(time.Millisecond)
		}
		must(t, cmd.Process.Kill())
		_ = cmd.Wait()
		had := written()
		var again struct{ WrittenBytes int64 }
		r := d.must(t, append([]string{"pull", "--json"}, g.pull("parts")[2:]...)...)
		must(t, json.Unmarshal([]byte(r.stdout), &again))
		if all := written(); again.WrittenBytes > all-had {
			t.Errorf("%d of %d bytes were there, and %d were written again", had, all, again.WrittenBytes)
		}
		d.must(t, "store", "verify")
		d.must(t, "rmi", string(top.Digest))
	}
}

func (g *registry) sofar() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.served
}

// A connection that breaks at any byte costs nothing but time: the pull succeeds, and no byte of a
// blob that arrived is asked for again.
func TestNetworkCutAtAnyByte(t *testing.T) {
	d, g, _ := sharedDevice(t)
	p := newProxy(t, g.host)
	host := p.Addr().String()
	r := rand.New(rand.NewPCG(1, 4))
	d.must(t, g.pullFrom(host, "1")...)
	whole := p.take()
	remove := func() { d.must(t, "rmi", string(g.tags["1"])) }
	remove()
	for n := range 100 {
		p.cutAt(1+r.Int64N(whole), n%2 == 0)
		d.must(t, g.pullFrom(host, "1")...)
		// A new connection brings headers again; what stood in buffers when a reset came was lost.
		most := whole + 4<<10
		if n%2 == 0 {
			most = 2 * whole
		}
		if got := p.take(); got > most {
			t.Errorf("%d bytes came over a connection cut once, %d without", got, whole)
		}
		remove()
	}
	if p.cuts < 95 {
		t.Errorf("only %d connections were cut", p.cuts)
	}
}

func (p *proxy) take() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.passed
	p.passed, p.left = 0, -1
	return n
}

// cutAt breaks the connection that brings byte n, by a reset or by an end that comes too early.
func (p *proxy) cutAt(n int64, reset bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left, p.reset = n, reset
}

// Commands at the same time: whoever wins, what is there is whole, and nothing is left over.
func TestManyCommandsAtOnce(t *testing.T) {
	d, g, j := sharedDevice(t)
	dir := filepath.Join(d.root, "store")
	for round := range 25 {
		calls := [][]string{
			g.pull("1"), g.pull("2"), g.pull("1"),
			{"store", "gc"},
			{"rmi", "--force", g.name(g.host, "1")},
			g.pull("3"),
			{"images"},
			{"store", "verify"},
			{"tag", g.name(g.host, "3"), g.name(g.host, "x")},
		}
		var all sync.WaitGroup
		results := make([]result, len(calls))
		for n, args := range calls {
			all.Go(func() { results[n] = d.try(t, args...) })
		}
		all.Wait()
		for n, r := range results {
			// The image of tag and rmi may not be there yet.
			if r.code != 0 && !(strings.Contains(r.stderr, "no such image") && (calls[n][0] == "tag" || calls[n][0] == "rmi")) {
				t.Errorf("round %d: %v", round, r)
			}
		}
		if err := j.store(dir, j.anything()); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		d.must(t, "rmi", "--force", string(g.tags["2"]), string(g.tags["3"]))
	}
	for _, tag := range []string{"1", "2", "3"} {
		d.must(t, g.pull(tag)...)
	}
	d.must(t, "store", "verify")
	must(t, j.goesOn(dir, nil))
}
