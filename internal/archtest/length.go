package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
)

const (
	maxFile     = 800 // lines
	maxFunction = 100 // lines
)

// CheckLengths returns one sentence for each Go file below root that is too long and for each
// function that is, except those in the list. A listed name that is not too long is told as well.
// A name is "path/file.go" or "path/file.go:Func", "path/file.go:Type.Method".
func CheckLengths(root string, except []string) ([]string, error) {
	excepted := map[string]bool{}
	for _, name := range except {
		excepted[name] = false
	}
	var complaints []string
	complain := func(name string, lines, limit int) {
		if _, ok := excepted[name]; ok {
			excepted[name] = true
			return
		}
		complaints = append(complaints, fmt.Sprintf("%s has %d lines, more than %d", name, lines, limit))
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && skipDir(d.Name()):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		return checkFile(path, name, complain)
	})
	for name, needed := range excepted {
		if !needed {
			complaints = append(complaints, fmt.Sprintf("%s is excepted from the length limit but keeps it", name))
		}
	}
	return complaints, err
}

// skipDir leaves out what is not ours or not compiled.
func skipDir(name string) bool {
	return name == "testdata" || name == "vendor" || name == "build" || name == "bin" || strings.HasPrefix(name, ".")
}

func checkFile(path, name string, complain func(name string, lines, limit int)) error {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	if ast.IsGenerated(f) {
		return nil
	}
	if n := fset.File(f.FileStart).LineCount(); n > maxFile {
		complain(name, n, maxFile)
	}
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		if n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1; n > maxFunction {
			complain(name+":"+functionName(fn), n, maxFunction)
		}
	}
	return nil
}

func functionName(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return fn.Name.Name
	}
	t := fn.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	if id, ok := t.(*ast.Ident); ok {
		return id.Name + "." + fn.Name.Name
	}
	return fn.Name.Name
}
