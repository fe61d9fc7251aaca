// Package cells is what an arbiter is made of: small values under names, each
// created once, complete, and never changed, leased or deleted (R16). Whoever
// keeps such values for two hosts can arbitrate: a directory, a block store, a
// database. What the values mean is package arbiter's business.
package cells

import (
	"fmt"
	"regexp"
)

// Store keeps cells. Its methods may be called from several goroutines.
//
// A call blocks while the store cannot be reached, but not for ever: it returns
// an error after a time that is the store's, and soon after Close. After an
// error of Create nothing is known, the cell may have been made: ask again with
// the same content. Errors carry no package prefix: package arbiter adds its own.
type Store interface {
	// Create makes a cell with content unless it exists, and returns the content
	// that the cell has. It is durable when Create returns. Asking again gives
	// the same answer.
	Create(vm, name string, content []byte) (have []byte, err error)
	// Read returns the content of a cell, or fs.ErrNotExist. It sees every
	// Create that was answered before, on whatever host.
	Read(vm, name string) ([]byte, error)
	// List returns the names of the VM's cells that begin with prefix, sorted;
	// none if the VM is not known. It sees what Read sees.
	List(vm, prefix string) ([]string, error)
	// Ping is a sign of life: a Create would be answered now.
	Ping() error
	// Durable says whether a cell survives a crash of the store's host, and why
	// not.
	Durable() (ok bool, why string)
	// Outside says whether the store lies on a third place, as far as can be
	// known from here, and why not: what lies on a host of the pair is lost with
	// that host.
	Outside() (ok bool, why string)
	// Close ends the use of the store. Calls that wait return an error.
	Close() error
}

// MaxContent bounds the content of a cell, in bytes.
const MaxContent = 64 << 10

var (
	vmName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	cellName = regexp.MustCompile(`^[a-z][a-z0-9.-]{0,126}$`)
)

// Check says whether a cell may have this name and content. Every store refuses
// the same.
func Check(vm, name string, content []byte) error {
	if err := CheckVM(vm); err != nil {
		return err
	}
	if !cellName.MatchString(name) {
		return fmt.Errorf("%q cannot name a cell: use lower-case letters, digits, dot and dash", name)
	}
	if len(content) > MaxContent {
		return fmt.Errorf("a cell of %d bytes; at most %d are kept", len(content), MaxContent)
	}
	return nil
}

// CheckVM says whether a VM may have this name.
func CheckVM(vm string) error {
	if !vmName.MatchString(vm) {
		return fmt.Errorf("%q cannot name a VM: use letters, digits, dot, dash and underscore", vm)
	}
	return nil
}
