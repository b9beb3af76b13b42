package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Module is the import path of the tree's root.
const Module = "tare.dev/tare"

// A Package is one package of the tree or one it depends on.
type Package struct {
	Path     string   // import path; below the module's root for packages of the tree
	Name     string   // as in its package clause
	Doc      string   // its package comment, of whichever file has one
	Imports  []string // direct, of files that are not tests; like Path
	Standard bool     // part of Go
	Local    bool     // part of this tree
}

// A Tree is what one `go list` saw, by Path.
type Tree map[string]*Package

// Load lists the packages that match the patterns in dir, with all they depend on, as they are
// built for linux on the given CPU without cgo.
func Load(dir, arch string, patterns ...string) (Tree, error) {
	args := []string{"list", "-e", "-deps", "-json=ImportPath,Dir,Name,Imports,Standard,Module,Error"}
	cmd := exec.Command("go", append(args, patterns...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("go list %s: %w: %s", strings.Join(patterns, " "), err, stderr.Bytes())
	}
	tree := Tree{}
	for dec := json.NewDecoder(&stdout); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return tree, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: read answer: %w", err)
		}
		pkg, err := p.pkg()
		if err != nil {
			return nil, err
		}
		tree[pkg.Path] = pkg
	}
}

// listed is the part of `go list -json` that Load asks for.
type listed struct {
	ImportPath, Dir, Name string
	Imports               []string
	Standard              bool
	Module                *struct{ Main bool }
	Error                 *struct{ Err string }
}

func (l listed) pkg() (*Package, error) {
	if l.Error != nil && !testsOnly(l.Error.Err) {
		return nil, fmt.Errorf("go list %s: %s", l.ImportPath, l.Error.Err)
	}
	p := &Package{Path: local(l.ImportPath), Name: l.Name, Standard: l.Standard}
	for _, path := range l.Imports {
		p.Imports = append(p.Imports, local(path))
	}
	p.Local = l.Module != nil && l.Module.Main
	if !p.Local {
		return p, nil
	}
	var err error
	p.Doc, err = packageDoc(l.Dir)
	return p, err
}

// testsOnly says that go list complains of a package whose files are all tests or all for another
// system: such a package imports nothing that the layers could forbid.
func testsOnly(message string) bool {
	return strings.Contains(message, "no non-test Go files") ||
		strings.Contains(message, "build constraints exclude all Go files")
}

// local cuts the module's path off packages of the tree.
func local(path string) string {
	return strings.TrimPrefix(path, Module+"/")
}

// packageDoc is the first package comment among the Go files of dir, tests included: go list shows
// none for a package that has only tests.
func packageDoc(dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return "", err
	}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			return "", err
		}
		if doc := f.Doc.Text(); doc != "" {
			return doc, nil
		}
	}
	return "", nil
}

// LocalPackages are the packages of this tree, in order.
func (t Tree) LocalPackages() []*Package {
	var all []*Package
	for _, p := range t {
		if p.Local {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b *Package) int { return strings.Compare(a.Path, b.Path) })
	return all
}
