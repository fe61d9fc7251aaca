// Package porttest has addresses for tests whose listeners others are told of
// before they listen, or come back where they were.
package porttest

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// Address is one on loopback at which nobody listens. Its port is none of those
// that the kernel gives to who asks for any, to connect from for example: that may
// be the very process which is to dial it.
func Address() string {
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))
		if l, err := net.Listen("tcp", address); err == nil && l.Close() == nil {
			return address
		}
	}
	panic("porttest: no port is free")
}
