package vm

import (
	"context"
	"errors"
	"testing"

	"github.com/lockstep-vm/lockstep/internal/porttest"
	"github.com/lockstep-vm/lockstep/storage/local"
)

// unreadableFS is the operating system's files, of which one cannot be read.
type unreadableFS struct {
	local.OS
	path string
}

func (u unreadableFS) Open(path string) (local.File, error) {
	f, err := u.OS.Open(path)
	if err != nil || path != u.path {
		return f, err
	}
	return unreadable{f}, nil
}

type unreadable struct{ local.File }

func (unreadable) ReadAt([]byte, int64) (int, error) {
	return 0, errors.New("the platter is scratched")
}

// Of two disks one cannot be read, while the other's contents take for ever: the
// attempt ends with the error, whichever host has it.
func TestErrorOfOneDiskEndsTheOthersResynchronisation(t *testing.T) {
	for _, host := range []string{"a", "b"} {
		t.Run(map[string]string{"a": "source", "b": "target"}[host], func(t *testing.T) {
			s := newResumeStage(t)
			start := func(on, peer string) *running {
				log := newEvents()
				cfg := s.resumeConfig(on, log)
				begin := PowerOn
				if cfg.Peer = peer; peer == "" {
					cfg.Listen, begin = porttest.Address(), Follow
				}
				cfg.paceSync = func(ctx context.Context, n int) error {
					if n <= 4096 { // a question
						return nil
					}
					<-ctx.Done()
					return ctx.Err()
				}
				if on == host {
					cfg.files = unreadableFS{path: s.on(host).second()}
				}
				r, err := begin(cfg)
				if err != nil {
					t.Fatal(err)
				}
				return run(t, r, log)
			}
			backup := start("b", "")
			primary := start("a", backup.Addr())
			failed := primary
			if host == "b" {
				failed = backup
			}
			failed.log.awaitText(t, "the platter is scratched")
			if failed.log.says(context.Canceled.Error()) {
				t.Errorf("told %v", failed.log.list)
			}
		})
	}
}
