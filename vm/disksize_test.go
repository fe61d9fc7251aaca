package vm

import (
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/storage"
)

// coarse is a disk that is read and written in larger blocks.
type coarse struct{ *way }

func (c coarse) BlockSize() uint32 { return 4096 }

// What the guest was told of its disk must be what the host has.
func TestDiskThatIsNotTheGuestsIsRefused(t *testing.T) {
	s := newStage(t)
	for want, change := range map[string]func(*Config){
		"has 16 sectors and the machine's disk 17": func(c *Config) { c.Machine.Disks[0].Sectors++ },
		"has 16 sectors and the machine's disk 15": func(c *Config) { c.Machine.Disks[0].Sectors-- },
		"write block_size: 4096": func(c *Config) {
			c.Disks[0].Path = "way://disk"
			c.Openers = storage.Openers{"way": func(string, bool) (storage.Backend, error) { return coarse{&way{medium: newMedium()}}, nil }}
		},
	} {
		cfg := s.config(newEvents())
		change(&cfg)
		r, err := PowerOn(cfg)
		if err == nil {
			r.close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}
