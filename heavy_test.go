package lockstep_test

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What the VM's process must not link: drivers of databases live apart.
var heavy = []string{"go.etcd.io/", "google.golang.org/grpc"}

// The program that runs VMs reaches no heavy library by any path of imports
// inside this module. (What other modules import is not walked: none of those
// that it uses is a heavy one's user.)
func TestVMProcessLinksNoDriver(t *testing.T) {
	if path := reach("cmd/lockstep", heavy); path != nil {
		t.Errorf("cmd/lockstep reaches what it must not link: %s", strings.Join(path, " -> "))
	}
	// The walk sees what there is to be seen.
	if path := reach("cmd/lockstep-etcd", heavy); len(path) < 3 {
		t.Errorf("from cmd/lockstep-etcd the walk finds %v; the driver of etcd links etcd", path)
	}
}

// reach is a path of imports from a room to the first of targets, or nil.
func reach(room string, targets []string) []string {
	var found []string
	seen := map[string]bool{}
	var walk func(room string, path []string)
	walk = func(room string, path []string) {
		if seen[room] || found != nil {
			return
		}
		seen[room] = true
		files, _ := filepath.Glob(filepath.Join(filepath.FromSlash(room), "*.go"))
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
			if err != nil {
				continue // the build tells of that
			}
			for _, spec := range file.Imports {
				imported, _ := strconv.Unquote(spec.Path.Value)
				here := append(slices.Clone(path), imported)
				if slices.ContainsFunc(targets, func(t string) bool { return strings.HasPrefix(imported, t) }) && found == nil {
					found = here
				}
				if inside, ok := strings.CutPrefix(imported, module); ok {
					walk(inside, here)
				}
			}
		}
	}
	walk(room, []string{room})
	return found
}
