package lockstep_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/lockstep-vm/lockstep/"

// A layer is a room, whether it is pure, and the rooms that it may import.
type layer struct {
	pure    bool
	imports []string
}

// layers is the table of ARCHITECTURE.md. A room that is not in it fails.
var layers = map[string]layer{
	"machine":             {pure: true},
	"machine/snapshot":    {pure: true, imports: []string{"machine"}},
	"machine/rv64":        {pure: true},
	"machine/rv64/asm":    {pure: true, imports: []string{"machine/rv64"}},
	"machine/softfloat":   {pure: true},
	"machine/mem":         {pure: true, imports: []string{"machine", "machine/snapshot"}},
	"machine/bus":         {pure: true, imports: []string{"machine"}},
	"machine/hart":        {pure: true, imports: []string{"machine", "machine/snapshot", "machine/rv64", "machine/softfloat", "machine/mem"}},
	"machine/jit":         {imports: []string{"machine/hart", "machine/jit/amd64"}},
	"machine/jit/amd64":   {pure: true, imports: []string{"machine/rv64", "machine/hart"}},
	"machine/dev":         {pure: true, imports: []string{"machine", "machine/snapshot", "machine/mem", "machine/bus"}},
	"machine/dev/virtio":  {pure: true, imports: []string{"machine", "machine/snapshot", "machine/mem", "machine/bus", "machine/dev"}},
	"machine/boot":        {pure: true, imports: []string{"machine", "machine/mem"}},
	"machine/board":       {pure: true, imports: []string{"machine", "machine/snapshot", "machine/mem", "machine/bus", "machine/rv64", "machine/hart", "machine/dev", "machine/dev/virtio", "machine/boot"}},
	"replay":              {pure: true, imports: []string{"machine"}},
	"ft":                  {pure: true, imports: []string{"machine", "replay"}},
	"sim":                 {pure: true, imports: []string{"machine", "machine/snapshot", "replay", "ft"}},
	"logchan":             {imports: []string{"machine", "replay", "ft"}},
	"arbiter":             {imports: []string{"ft", "arbiter/cells", "arbiter/remote"}},
	"arbiter/cells":       {pure: true},
	"arbiter/remote":      {imports: []string{"arbiter/cells"}},
	"arbiter/etcd":        {imports: []string{"arbiter/cells", "arbiter/remote"}},
	"arbiter/arbitertest": {imports: []string{"arbiter", "arbiter/cells", "ft"}},
	"storage":             {imports: []string{"machine", "ft", "storage/imagelock"}},
	"storage/imagelock":   {},
	"storage/format":      {imports: []string{"storage/imagelock"}},
	"storage/nbd":         {imports: []string{"ft", "arbiter/cells", "storage"}},
	"storage/store":       {imports: []string{"ft", "arbiter/cells", "storage/imagelock", "storage/nbd"}},
	"storage/local":       {imports: []string{"machine", "ft", "storage", "storage/imagelock"}},
	"network":             {imports: []string{"machine", "ft"}},
	"vm":                  {imports: []string{"machine", "machine/snapshot", "machine/board", "machine/jit", "replay", "ft", "logchan", "arbiter", "storage", "storage/local", "storage/nbd", "network"}},
	"image":               {},
	"spec":                {imports: []string{"machine", "image"}},
	"cli":                 {imports: []string{"machine", "machine/snapshot", "machine/board", "machine/boot", "replay", "ft", "vm", "image", "spec", "network", "arbiter", "storage", "storage/format", "storage/nbd", "storage/store", "logchan", "cli/bench", "cli/demo", "cli/control"}},
	"cli/control":         {imports: []string{"vm", "network"}},
	"cli/demo":            {imports: []string{"vm", "image", "network", "cli/control"}},
	"cli/bench":           {imports: []string{"machine", "vm", "image", "storage/store"}},
	"internal/citest":     {},
	"internal/porttest":   {},
	"internal/builttest":  {imports: []string{"internal/citest"}},
	"cmd/lockstep":        {imports: []string{"cli"}},
	"cmd/lockstep-etcd":   {imports: []string{"arbiter/etcd"}},
}

// outside is what a pure room must not import: whatever could let the host in.
var outside = []string{"time", "net", "os", "sync", "math/rand", "math/rand/v2", "crypto/rand", "runtime", "syscall", "log", "context", "golang.org/x/sync", "golang.org/x/sys"}

func TestImportsGoDownOnly(t *testing.T) {
	files := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		files++
		checkFile(t, path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 5 {
		t.Fatalf("saw %d files; is this the root of the module?", files)
	}
}

func checkFile(t *testing.T, path string) {
	room := filepath.ToSlash(filepath.Dir(path))
	l, known := layers[room]
	if !known {
		t.Errorf("%s: room %q is not in the layer table", path, room)
		return
	}
	// What RAM is made of comes from the host, and is zeros wherever it comes from.
	memory := room == "machine/mem" && strings.HasPrefix(filepath.Base(path), "alloc_")
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Error(err)
		return
	}
	for _, spec := range file.Imports {
		name, _ := strconv.Unquote(spec.Path.Value)
		if inside, ok := strings.CutPrefix(name, module); ok {
			if !slices.Contains(l.imports, inside) {
				t.Errorf("%s: %q may not import %q", path, room, inside)
			}
			continue
		}
		if !l.pure {
			continue
		}
		for _, o := range outside {
			if (name == o || strings.HasPrefix(name, o+"/")) && !memory {
				t.Errorf("%s: the pure room %q imports %q", path, room, name)
			}
		}
		if name == "unsafe" && !(room == "machine/mem" && strings.HasSuffix(path, "_unsafe.go")) {
			t.Errorf("%s: unsafe outside machine/mem/*_unsafe.go", path)
		}
	}
	if l.pure {
		ast.Inspect(file, func(n ast.Node) bool {
			if _, ok := n.(*ast.GoStmt); ok {
				t.Errorf("%s: the pure room %q starts a goroutine", path, room)
			}
			return true
		})
	}
}
