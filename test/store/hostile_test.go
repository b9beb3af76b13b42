package storetest

import (
	"archive/tar"
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/store"
	"tare.dev/tare/test/built"
)

// refusedLayers are tar streams that are no layers, with a part of what is said of each.
func refusedLayers() map[string]struct {
	tar  []byte
	want string
} {
	type layer = struct {
		tar  []byte
		want string
	}
	all := map[string]layer{
		"leaves by ..":                  {stream(regular("../etc/passwd", "x")), "../etc/passwd: not a path in the image"},
		"leaves by .. later":            {stream(regular("a/b/../../../x", "x")), "not a path in the image"},
		"is ..":                         {stream(entry(tar.TypeDir, "..", "")), "not a path in the image"},
		"link to outside":               {stream(entry(tar.TypeLink, "a", "../../etc/shadow")), "not a path in the image"},
		"link to nothing":               {stream(entry(tar.TypeLink, "a", "/etc/shadow")), "not there"},
		"link to itself":                {stream(entry(tar.TypeLink, "a", "a")), "not there"},
		"link to a directory":           {stream(entry(tar.TypeDir, "d", ""), entry(tar.TypeLink, "a", "d")), "directory"},
		"link over the root":            {stream(regular("f", "x"), entry(tar.TypeLink, "/", "f")), "not a path"},
		"symbolic links in a ring":      {stream(entry(tar.TypeSymlink, "a", "b"), entry(tar.TypeSymlink, "b", "a"), regular("a/x", "x")), "symbolic links"},
		"symbolic link to nothing":      {stream(entry(tar.TypeSymlink, "a", "")), "target of 0 bytes"},
		"whiteout of nothing":           {stream(entry(tar.TypeReg, ".wh.", "")), "whiteout of nothing"},
		"whiteout of .":                 {stream(entry(tar.TypeReg, "a/.wh..", "")), "whiteout of nothing"},
		"whiteout of ..":                {stream(entry(tar.TypeReg, "a/.wh...", "")), "whiteout of nothing"},
		"link named as a whiteout":      {stream(regular("f", "x"), entry(tar.TypeLink, ".wh.f", "f")), "not a path"},
		"overlayfs's whiteout":          {stream(entry(tar.TypeChar, "a", "")), "whiteout"},
		"device out of range":           {stream(header{name: "d", flag: tar.TypeBlock, major: "7777777", minor: "1"}.bytes()), "out of range"},
		"negative device":               {stream(header{name: "d", flag: tar.TypeBlock, major: base256(-1)[4:]}.bytes()), "out of range"},
		"the root is a file":            {stream(regular("./", "x")), ""},
		"one file twice":                {stream(regular("a", "1"), regular("a", "2")), "twice in one layer"},
		"one file twice, spelled apart": {stream(regular("a", "1"), regular("./a", "2")), "twice in one layer"},
		"file and directory":            {stream(regular("a", "1"), entry(tar.TypeDir, "a/", "")), "twice in one layer"},
		"directory and file":            {stream(entry(tar.TypeDir, "a/", ""), regular("a", "1")), "twice in one layer"},
		"file as a directory":           {stream(regular("a", "1"), regular("a/b", "2")), "not a directory"},
		"name of 256 bytes":             {stream(long("d/" + xs(256))), "256 bytes"},
		"path of 5000 bytes":            {stream(long(strings.Repeat("xxxxxxxxx/", 500))), "5000 bytes"},
		"2000 directories deep":         {stream(long(strings.Repeat("x/", 2000) + "f")), "deep"},
		"negative size":                 {stream(header{name: "a", flag: tar.TypeReg, size: base256(-1)}.bytes()), "tar: "},
		"least size":                    {stream(header{name: "a", flag: tar.TypeReg, size: base256(math.MinInt64)}.bytes()), "tar: "},
		"size of no number":             {stream(header{name: "a", flag: tar.TypeReg, size: "0000000000z"}.bytes()), "tar: "},
		"largest size":                  {stream(header{name: "a", flag: tar.TypeReg, size: base256(math.MaxInt64)}.bytes()), ""},
		"negative owner":                {stream(header{name: "a", flag: tar.TypeReg, uid: base256(-1)[4:]}.bytes()), "out of range"},
		"type of no meaning":            {stream(entry('Z', "a", "")), "type 'Z'"},
		"wrong sum of a header":         {stream(append([]byte("b"), regular("a", "1")[1:]...)), "tar: "},
		"PAX: negative size":            {stream(pax("size=-1"), regular("a", "1")), "tar: "},
		"PAX: no record":                {stream(rawPax([]byte("nonsense")), regular("a", "1")), "tar: "},
		"PAX: endless record":           {stream(rawPax([]byte("99999999999 path=a\n")), regular("a", "1")), "tar: "},
		"PAX: NUL in a path":            {stream(pax("path=a\x00b"), regular("a", "1")), ""},
		"PAX: NUL in a link":            {stream(pax("linkpath=a\x00b"), entry(tar.TypeSymlink, "a", "x")), ""},
		"PAX: time of no number":        {stream(pax("mtime=nan"), regular("a", "1")), "tar: "},
		"PAX: 2 MiB of records":         {stream(pax("comment="+xs(2<<20)), regular("a", "1")), "tar: "},
		"xattrs of 1 MiB":               {stream(pax("SCHILY.xattr.user.a="+xs(1<<20)), regular("a", "1")), ""},
		"xattrs of 100 KiB":             {stream(pax("SCHILY.xattr.user.a="+xs(50<<10), "SCHILY.xattr.user.b="+xs(50<<10)), regular("a", "1")), "extended attributes"},
		"xattr of a long name":          {stream(pax("SCHILY.xattr.user."+xs(300)+"=v"), regular("a", "1")), "a: "},
		"xattr of no kind":              {stream(pax("SCHILY.xattr.other.name=v"), regular("a", "1")), "a: "},
		"xattr without a name":          {stream(pax("SCHILY.xattr.=v"), regular("a", "1")), ""},
		"xattr twice":                   {stream(pax("SCHILY.xattr.user.a=v", "LIBARCHIVE.xattr.user%2Ea=dg"), regular("a", "1")), "twice"},
		"xattr of bad base64":           {stream(pax("LIBARCHIVE.xattr.user.a=!!"), regular("a", "1")), "base64"},
		"sparse: larger than anything":  {stream(sparse("a", math.MaxInt64, "1\n9223372036854775806\n1\n")), "unpacks to too much"},
		"sparse: 40 GiB":                {stream(sparse("a", 40<<30, fmt.Sprintf("1\n%d\n1\n", int64(40<<30-1)))), "unpacks to too much"},
		"sparse: overlaps":              {stream(sparse("a", 100, "2\n0\n50\n10\n50\n")), "tar: "},
		"sparse: beyond the end":        {stream(sparse("a", 100, "1\n100\n1\n")), "tar: "},
		"sparse: negative":              {stream(sparse("a", 100, "1\n-1\n1\n")), "tar: "},
		"sparse: endless map":           {stream(sparse("a", 100, "99999999\n0\n1\n")), "tar: "},
		"no tar":                        {[]byte(xs(100_000)), "tar: "},
		"ends in a header":              {regular("a", xs(5000))[:300], "tar: "},
		"ends in a file":                {regular("a", xs(5000))[:3000], "unexpected EOF"},
	}
	return all
}

// A hostile image is refused in one line of words, and leaves nothing.
func TestHostileLayersAreRefused(t *testing.T) {
	needRoot(t)
	g := newRegistry(t, newShelf())
	d := device{path: built.Tare(t), root: t.TempDir()}
	good := g.image(t, "good", layerOf(t, files("f", 1, 5, 5000)...))
	d.must(t, g.pull("good")...)
	for name, c := range refusedLayers() {
		t.Run(name, func(t *testing.T) {
			// Below a file that becomes an object, and above it one that would hide it.
			g.image(t, "evil", layerOf(t, file{"before", []byte(xs(10_000))}), c.tar)
			refusedImage(t, d, g, c.want, 48<<10)
		})
	}
	d.must(t, "store", "verify")
	j, err := newJudge(&shelf{g.blobs, map[digest.Digest]v1.Descriptor{good.Digest: good}, nil}, filepath.Join(t.TempDir(), "peace"))
	must(t, err)
	must(t, j.goesOn(filepath.Join(d.root, "store"), nil))
}

// refusedImage pulls the image of the tag "evil".
func refusedImage(t *testing.T, d device, g *registry, want string, most int) {
	t.Helper()
	cmd := d.command(g.pull("evil")...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	must(t, cmd.Start())
	timer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	peak := watchMemory(cmd.Process.Pid)
	err := cmd.Wait()
	timer.Stop()
	memory := peak()
	text := errs.String()
	line := strings.TrimSuffix(text, "\n")
	if cmd.ProcessState.ExitCode() != 1 || out.Len() > 0 || !strings.HasPrefix(line, "tare: pull "+g.name(g.host, "evil")+": ") {
		t.Fatalf("pull: %v %q %q, want exit 1 and an error", err, out.String(), text)
	}
	if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) || len(line) > 1000 || !strings.HasSuffix(text, "\n") {
		t.Errorf("want one line that can be printed: %.2000q", text)
	}
	if !strings.Contains(line, want) {
		t.Errorf("%q, want it to tell of %q", line, want)
	}
	if memory > most {
		t.Errorf("took %d KiB of memory, want %d at most", memory, most)
	}
	if left, _ := filepath.Glob(filepath.Join(d.root, "store/tmp/*")); len(left) > 0 {
		t.Errorf("left %s", left)
	}
	if images, _ := filepath.Glob(filepath.Join(d.root, "store/images/*")); len(images) > 1 {
		t.Errorf("left an image: %s", images)
	}
	if refs, _ := filepath.Glob(filepath.Join(d.root, "store/refs/*evil*")); len(refs) > 0 {
		t.Errorf("left a name: %s", refs)
	}
}

// watchMemory reads how much memory a process has at most, in KiB, until it ends. What wait4(2) tells
// would be that of this test's own memory, in which the process began.
func watchMemory(pid int) (peak func() int) {
	most, done := 0, make(chan struct{})
	go func() {
		defer close(done)
		for {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			_, line, ok := strings.Cut(string(text), "VmHWM:")
			if err != nil || !ok { // a zombie has none
				return
			}
			var now int
			if _, err := fmt.Sscan(line, &now); err == nil {
				most = max(most, now)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	return func() int { <-done; return most }
}

// Names reach a person's terminal by way of errors.
func TestHostileNamesDoNotReachTheTerminal(t *testing.T) {
	needRoot(t)
	g := newRegistry(t, newShelf())
	d := device{path: built.Tare(t), root: t.TempDir()}
	for _, name := range []string{"../\x1b[2J\x1b[31mall is well", "../a\nb", "../a\rb", "../\u202eb", "../\xff"} {
		g.image(t, "evil", stream(long(name)))
		refusedImage(t, d, g, "not a path in the image", 48<<10)
	}
}

// A layer may not cost more than its size says, nor may its names.
func TestHostileAmountsAreRefused(t *testing.T) {
	needRoot(t)
	if testing.Short() {
		t.Skip("long")
	}
	const mebibyte = 1 << 20
	huge := func(size int64) []byte { return header{name: "zeros", flag: tar.TypeReg, size: octal(size)}.bytes() }
	files := func(n int) []byte {
		return repeat(t, n, func(i int) []byte { return entry(tar.TypeReg, fmt.Sprintf("%07d", i), "") })
	}
	links := func(n int) []byte {
		target := pax("linkpath=" + xs(4000))
		return repeat(t, n, func(i int) []byte {
			return append(target[:len(target):len(target)], entry(tar.TypeSymlink, fmt.Sprint(i), "x")...)
		})
	}
	for name, c := range map[string]struct {
		gzip []byte
		want string
		most int // KiB of memory
	}{
		"bomb in a file":          {zeros(t, huge(3000*mebibyte), 3001), "unpacks to too much", 48 << 10},
		"bomb after the end":      {zeros(t, stream(regular("a", "1")), 3000), "unpacks to too much", 48 << 10},
		"1.1 million files":       {files(1_100_000), "more than 1000000 entries", 400 << 10},
		"symbolic links of 80 MB": {links(20_000), "names and links of more than", 160 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRegistry(t, newShelf())
			layer := g.put(v1.MediaTypeImageLayerGzip, c.gzip)
			config := v1.Image{RootFS: v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromString("?")}}}
			g.manifest(t, "evil", v1.Manifest{
				Versioned: specs.Versioned{SchemaVersion: 2},
				Config:    g.put(v1.MediaTypeImageConfig, encode(t, config)), Layers: []v1.Descriptor{layer},
			})
			refusedImage(t, device{path: built.Tare(t), root: t.TempDir()}, g, c.want, c.most)
		})
	}
}

// What only looks hostile is an image, and stays in its root.
func TestOddLayersStayInTheImage(t *testing.T) {
	needRoot(t)
	g := newRegistry(t, newShelf())
	d := device{path: built.Tare(t), root: t.TempDir()}
	outside := filepath.Join(t.TempDir(), "outside")
	must(t, os.Mkdir(outside, 0o755))
	g.image(t, "odd",
		stream(
			regular("/absolute", "x"), regular("./dot", "x"), regular("a/./b//c", "x"),
			entry(tar.TypeSymlink, "up", "../../../../.."), regular("up/high", "x"),
			entry(tar.TypeSymlink, "out", outside), regular("out/in", "x"),
			entry(tar.TypeReg, ".wh.missing", ""), entry(tar.TypeReg, "nowhere/.wh..wh..opq", ""),
			pax("SCHILY.xattr.trusted.overlay.redirect=/etc", "SCHILY.xattr.trusted.overlay.opaque=y"), regular("overlay", xs(5000)),
			pax("SCHILY.xattr.trusted.overlay.metacopy="), regular("metacopy", "x"),
			long(xs(255)), long("\xff\xfe\x01"), regular("big", xs(10_000)),
			sparse("holes", 10_000, "1\n9999\n1\n"),
			pax("mtime=-1000000000.5"), regular("old", "x"),
		))
	d.must(t, g.pull("odd")...)
	if left, _ := os.ReadDir(outside); len(left) > 0 {
		t.Errorf("wrote %s outside", left)
	}
	st, err := store.Open(filepath.Join(d.root, "store"), store.Options{Reserve: -1})
	must(t, err)
	defer st.Close()
	i, err := st.Find(g.name(g.host, "odd"))
	must(t, err)
	tree, err := i.Tree()
	must(t, err)
	defer tree.Close()
	var paths, overlay []string
	must(t, tree.Walk(func(path string, _ erofs.NID, in *erofs.Inode) error {
		paths = append(paths, path)
		for _, x := range in.Xattrs {
			overlay = append(overlay, path+" "+x.Name)
		}
		return nil
	}))
	for _, want := range []string{"absolute", "dot", "a/b/c", "high", outside[1:] + "/in", xs(255), "\xff\xfe\x01", "holes", "old"} {
		if !slices.Contains(paths, want) {
			t.Errorf("no %q in the image", want)
		}
	}
	want := []string{
		"metacopy trusted.overlay.overlay.metacopy",
		"overlay trusted.overlay.overlay.opaque", "overlay trusted.overlay.overlay.redirect",
	}
	if !slices.Equal(overlay, want) {
		t.Errorf("attributes %q, want %q", overlay, want)
	}
}
