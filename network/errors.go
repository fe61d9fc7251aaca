package network

import (
	"errors"
	"fmt"

	"github.com/lockstep-vm/lockstep/ft"
)

// ErrClosed is returned by what has been closed.
var ErrClosed = errors.New("network: closed")

// RefusedError says that the switch will not let an attachment speak. A VM
// process that gets one while it is live has lost its port to another: it must
// halt (R15, R19).
type RefusedError struct {
	Reason RefuseReason
	Holder ft.Fence // the fence number that holds the port, for RefusedFence and RefusedInUse
	Text   string   // what the switch says about it
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("network: the switch refused the port: %s", e.Text)
}
