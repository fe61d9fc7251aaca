package lockstep_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// No State depends on the order of a map (R2): the pure rooms range over none,
// and neither do they ask a library to, or choose between channels.
func TestPureRoomsRangeOverNoMap(t *testing.T) {
	c := newChecker()
	for _, room := range slices.Sorted(maps.Keys(layers)) {
		if !layers[room].pure {
			continue
		}
		files, err := c.load(room)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, error %v; is this the root of the module?", room, len(files), err)
		}
		for _, problem := range c.impure(files) {
			t.Error(problem)
		}
	}
}

// The check sees what it is for, in every disguise that a map has.
func TestRangingOverAMapIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		code string
		want int
	}{
		"plain":             {`func f(m map[int]int) { for range m { } }`, 1},
		"named type":        {`type set map[int]bool; func f(s set) { for k := range s { _ = k } }`, 1},
		"field of a struct": {`type s struct{ m map[int]int }; func f(x *s) { for range x.m { } }`, 1},
		"call":              {`func g() map[int]int { return nil }; func f() { for range g() { } }`, 1},
		"type parameter":    {`func f[M ~map[int]int](m M) { for range m { } }`, 1},
		"from another room": {`import "` + module + `machine/fake"; func f(x fake.T) { for range x.M { } }`, 1},
		"unknown type":      {`import "example.org/other"; func f() { for range other.All() { } }`, 1},
		"maps":              {`import "maps"; var _ = maps.Keys[map[int]int]`, 1},
		"select":            {`func f(a, b chan int) { select { case <-a: case <-b: } }`, 1},
		"slice":             {`func f(m []int) { for range m { } }`, 0},
		"number":            {`func f(n uint64) { for range n { } }`, 0},
		"sorted function":   {`func f(seq func(func(int) bool)) { for range seq { } }`, 0},
		"index only":        {`func f(m map[int]int) int { clear(m); return m[1] }`, 0},
	} {
		checker := newChecker()
		fake, _ := parser.ParseFile(checker.fset, "fake.go", "package fake; type T struct{ M map[int]int }", 0)
		checker.check("machine/fake", []*ast.File{fake})
		file, err := parser.ParseFile(checker.fset, "x.go", "package x; "+c.code, 0)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		checker.check("x", []*ast.File{file})
		if got := checker.impure([]*ast.File{file}); len(got) != c.want {
			t.Errorf("%s: found %q, want %d", name, got, c.want)
		}
	}
}

// A checker finds the types of expressions within this module. What lies
// outside is not looked at: an expression whose type is not known counts as
// what it might be.
type checker struct {
	fset  *token.FileSet
	rooms map[string]*types.Package
	files map[string][]*ast.File
	info  *types.Info
}

func newChecker() *checker {
	return &checker{
		fset:  token.NewFileSet(),
		rooms: map[string]*types.Package{},
		files: map[string][]*ast.File{},
		info:  &types.Info{Types: map[ast.Expr]types.TypeAndValue{}},
	}
}

// load parses and checks the files of a room, without tests.
func (c *checker) load(room string) ([]*ast.File, error) {
	if c.rooms[room] != nil {
		return c.files[room], nil
	}
	entries, err := os.ReadDir(filepath.FromSlash(room))
	if err != nil {
		return nil, err
	}
	var files []*ast.File
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(c.fset, path.Join(room, e.Name()), nil, 0)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	c.check(room, files)
	return files, nil
}

// check works out the types in a room. Files for other hosts declare some
// names twice: the first counts, and every file is looked at.
func (c *checker) check(room string, files []*ast.File) {
	conf := types.Config{Importer: c, Error: func(error) {}}
	c.rooms[room], _ = conf.Check(module+room, c.fset, files, c.info)
	c.files[room] = files
}

// Import implements types.Importer: rooms come with their types, everything
// else is an empty package.
func (c *checker) Import(name string) (*types.Package, error) {
	if room, inside := strings.CutPrefix(name, module); inside {
		_, err := c.load(room)
		return c.rooms[room], err
	}
	pkg := types.NewPackage(name, path.Base(name))
	pkg.MarkComplete()
	return pkg, nil
}

// impure are the places where the order of a map, or of channels, shows.
func (c *checker) impure(files []*ast.File) []string {
	var out []string
	found := func(n ast.Node, what string) { out = append(out, c.fset.Position(n.Pos()).String()+": "+what) }
	for _, f := range files {
		for _, i := range f.Imports {
			if i.Path.Value == `"maps"` {
				found(i, "a pure room imports maps, whose order is random")
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectStmt:
				found(n, "select chooses at random")
			case *ast.RangeStmt:
				if what := orderless(c.info.Types[n.X].Type); what != "" {
					found(n, "a pure room ranges over "+what)
				}
			}
			return true
		})
	}
	return out
}

// orderless says what is wrong with ranging over a type.
func orderless(t types.Type) string {
	if t == nil || t == types.Typ[types.Invalid] {
		return "a value of a type that this test cannot see; give it a variable with its type"
	}
	if p, ok := t.(*types.TypeParam); ok {
		if u, ok := p.Underlying().(*types.Interface); ok {
			for e := range u.EmbeddedTypes() {
				if inner, ok := e.(*types.Union); ok {
					for i := range inner.Len() {
						if _, ok := inner.Term(i).Type().Underlying().(*types.Map); ok {
							return "a map"
						}
					}
				}
			}
		}
	}
	if _, ok := t.Underlying().(*types.Map); ok {
		return "a map"
	}
	return ""
}
