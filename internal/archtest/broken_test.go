package archtest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A checker that cannot fail proves nothing: each test here breaks a tree in one way and wants the
// sentence that says so.

const fakeDocument = "text\n```layers\ncmd/tare\ntop\nleft right  # side by side\nbase/...\n```\n" +
	"```walls\ncmd/tare -> \"text/template\" right\nleft => \"os\"\n```\n"

// fakeTree keeps every rule of fakeDocument but for cmd/tare's second wall.
func fakeTree() Tree {
	tree := Tree{}
	add := func(path, doc string, imports ...string) {
		name := path[strings.LastIndexByte(path, '/')+1:]
		if strings.HasPrefix(path, "cmd/") {
			name = "main"
		}
		tree[path] = &Package{Path: path, Name: name, Doc: doc, Imports: imports, Local: true}
	}
	add("cmd/tare", "Tare runs containers.", "internal/top")
	add("internal/top", "Package top is the top.", "internal/left")
	add("internal/left", "Package left is left.", "internal/base", "fmt")
	add("internal/right", "Package right is right.", "internal/base/deep")
	add("internal/base", "Package base is the base.", "internal/base/deep")
	add("internal/base/deep", "Package deep is below.", "os")
	tree["fmt"] = &Package{Path: "fmt", Standard: true, Imports: []string{"os"}}
	tree["os"] = &Package{Path: "os", Standard: true}
	return tree
}

func TestLayersAreHeld(t *testing.T) {
	layers, err := ParseLayers(fakeDocument)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		damage func(Tree)
		want   string
	}{
		"nothing": {func(Tree) {}, ""},
		"import up": {
			func(t Tree) { t["internal/base"].Imports = []string{"internal/top"} },
			"internal/base imports internal/top, which is not below it",
		},
		"import sideways": {
			func(t Tree) { t["internal/left"].Imports = []string{"internal/right"} },
			"internal/left imports internal/right, which is not below it",
		},
		"not in the list": {
			func(t Tree) {
				t["internal/new"] = &Package{Path: "internal/new", Name: "new", Doc: "Package new is.", Local: true}
			},
			"internal/new is in no layer: add it to the layers block of ARCHITECTURE.md",
		},
		"only in the list": {
			func(t Tree) { delete(t, "internal/right") },
			"ARCHITECTURE.md lists internal/right, but there is no such package",
		},
		"no comment": {
			func(t Tree) { t["internal/top"].Doc = "" },
			`internal/top has no package comment that starts with "Package top"`,
		},
		"someone else's comment": {
			func(t Tree) { t["internal/top"].Doc = "Package bottom is wrong." },
			`internal/top has no package comment that starts with "Package top"`,
		},
		"command without a comment": {
			func(t Tree) { t["cmd/tare"].Doc = "" },
			"cmd/tare has no comment that says what the command does",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			tree := fakeTree()
			test.damage(tree)
			wantSentence(t, CheckLayers(tree, layers), test.want)
		})
	}
}

func TestWallsAreHeld(t *testing.T) {
	walls, err := ParseWalls(fakeDocument)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		damage func(Tree)
		want   string
	}{
		"nothing": {func(Tree) {}, ""},
		"through others": {
			func(t Tree) { t["internal/base/deep"].Imports = []string{"text/template"} },
			`cmd/tare must not depend on "text/template": cmd/tare imports internal/top imports internal/left` +
				` imports internal/base imports internal/base/deep imports text/template`,
		},
		"a package of the tree": {
			func(t Tree) { t["internal/top"].Imports = []string{"internal/right"} },
			`cmd/tare must not depend on "internal/right": cmd/tare imports internal/top imports internal/right`,
		},
		"in its own files": {
			func(t Tree) { t["internal/left"].Imports = []string{"os"} },
			`internal/left must not import "os"`,
		},
		"around nothing": {
			func(t Tree) { delete(t, "internal/left") },
			"walls name internal/left, but there is no such package",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			tree := fakeTree()
			test.damage(tree)
			wantSentence(t, CheckWalls(tree, walls), test.want)
		})
	}
}

func TestBrokenDocumentsAreRefused(t *testing.T) {
	for name, document := range map[string]string{
		"no block":        "text",
		"two blocks":      "```layers\na\n```\n```layers\nb\n```\n",
		"open block":      "```layers\na\n",
		"listed twice":    "```layers\na b\na\n```\n",
		"no arrow":        "```walls\na \"os\"\n```\n",
		"nothing banned":  "```walls\na ->\n```\n",
		"an unknown sign": "```walls\na <- b\n```\n",
	} {
		_, layersErr := ParseLayers(document)
		_, wallsErr := ParseWalls(document)
		if layersErr == nil || wallsErr == nil && !strings.Contains(document, "layers") {
			t.Errorf("%s: parsed without an error", name)
		}
	}
}

func TestLinkedChangesAreTold(t *testing.T) {
	tree := fakeTree()
	tree["example.org/x"] = &Package{Path: "example.org/x"}
	tree["internal/base"].Imports = []string{"example.org/x"}
	want := "example.org/x <- internal/base\n"
	have := Linked(tree)
	if !strings.Contains(have, want) || strings.Contains(have, "fmt") {
		t.Fatalf("Linked = %q, want the line %q and nothing of Go's own", have, want)
	}
	if got := CompareLinked(have, have); got != nil {
		t.Errorf("CompareLinked of equal lists = %q", got)
	}
	without := strings.Replace(have, want, "", 1)
	wantSentence(t, CompareLinked(have, without), "now linked, not in the list: example.org/x <- internal/base")
	wantSentence(t, CompareLinked(without, have), "in the list, no longer linked: example.org/x <- internal/base")
}

func TestSizeIsHeld(t *testing.T) {
	ceilings, err := ParseCeilings("# bytes\narm 1000\n")
	if err != nil || len(ceilings) != 1 {
		t.Fatalf("ParseCeilings = %v, %v", ceilings, err)
	}
	for size, want := range map[int64]string{
		1000: "", 900: "",
		1001: "cmd/tare for arm has 1001 bytes, 1 over its ceiling",
		700:  "cmd/tare for arm has 700 bytes: lower its ceiling of 1000",
	} {
		if got := ceilings[0].Check(size); !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("Check(%d) = %q, want %q", size, got, want)
		}
	}
	for _, bad := range []string{"arm", "arm x", "arm 1 2", "arm 0"} {
		if _, err := ParseCeilings(bad); err == nil {
			t.Errorf("ParseCeilings(%q) = nil error", bad)
		}
	}
}

func TestLengthsAreHeld(t *testing.T) {
	dir := t.TempDir()
	function := "func (t *T) f() {\n" + strings.Repeat("\t_ = 0\n", 99) + "}\n"
	write(t, dir, "long.go", "package x\n\ntype T int\n\n"+function)
	write(t, dir, "file.go", "package x\n"+strings.Repeat("\n", 800))
	write(t, dir, "testdata/free.go", "package x\n"+strings.Repeat("\n", 900))
	write(t, dir, "made.go", "// Code generated by hand. DO NOT EDIT.\n\npackage x\n"+strings.Repeat("\n", 900))

	got, err := CheckLengths(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	want := []string{"file.go has 801 lines, more than 800", "long.go:T.f has 101 lines, more than 100"}
	if !slices.Equal(got, want) {
		t.Errorf("CheckLengths = %q, want %q", got, want)
	}
	got, err = CheckLengths(dir, []string{"file.go", "long.go:T.f", "short.go"})
	if err != nil {
		t.Fatal(err)
	}
	wantSentence(t, got, "short.go is excepted from the length limit but keeps it")
}

// TestRealListing breaks a real module, to show that Load sees what the fakes pretend.
func TestRealListing(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "go.mod", "module "+Module+"\n\ngo 1.26\n")
	write(t, dir, "internal/low/low.go", "// Package low is low.\npackage low\n\nimport _ \"tare.dev/tare/internal/high\"\n")
	write(t, dir, "internal/high/high.go", "package high\n")
	write(t, dir, "internal/checked/only_test.go", "// Package checked has only tests.\npackage checked\n")
	tree, err := Load(dir, "arm64", "./...")
	if err != nil {
		t.Fatal(err)
	}
	got := CheckLayers(tree, Layers{{"internal/high"}, {"internal/low", "internal/checked"}})
	want := []string{
		`internal/high has no package comment that starts with "Package high"`,
		"internal/low imports internal/high, which is not below it",
	}
	if !slices.Equal(got, want) {
		t.Errorf("CheckLayers = %q, want %q", got, want)
	}
	write(t, dir, "internal/high/broken.go", "package other\n")
	if _, err := Load(dir, "arm64", "./..."); err == nil {
		t.Error("Load of a tree that does not compile = nil error")
	}
}

func wantSentence(t *testing.T, complaints []string, want string) {
	t.Helper()
	if want == "" && len(complaints) == 0 {
		return
	}
	if len(complaints) != 1 || complaints[0] != want {
		t.Errorf("complaints = %s, want only %q", fmt.Sprintf("%q", complaints), want)
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
