//go:build !linux || !amd64

package jit

import (
	"fmt"
	"runtime"

	"github.com/lockstep-vm/lockstep/machine/hart"
)

// New fails: there is no emitter for this host. The interpreter does it all.
func New(int) (hart.Native, error) {
	return nil, fmt.Errorf("jit: no translation for %s/%s", runtime.GOOS, runtime.GOARCH)
}
