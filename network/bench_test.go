package network

import (
	"context"
	"fmt"
	"io"
	"testing"
)

// One request and its answer: client, forward, gateway, switch, host half,
// guest, and back.
func BenchmarkForwardRoundTrip(b *testing.B) {
	s := testSwitch(b, forwardTo("10.0.2.15:7"))
	g := newGuest(b, macA, guestAddr)
	echoServer(b, g)
	defer g.runOn(plugLive(b, s, "vm", macA, 0))()
	c := dialForward(b, s)
	m := make([]byte, 64)
	for b.Loop() {
		c.Write(m)
		if _, err := io.ReadFull(c, m); err != nil {
			b.Fatal(err)
		}
	}
}

// The whole of a failover that the network adds: kill, go live, and the answer
// to a request that the dead process had received.
func BenchmarkFailover(b *testing.B) {
	s := testSwitch(b, forwardTo("10.0.2.15:7"))
	g := newGuest(b, macA, guestAddr)
	echoServer(b, g)
	live := plugLive(b, s, "vm", macA, 0)
	halt := g.runOn(live)
	c := dialForward(b, s)
	m := make([]byte, 64)
	number := uint64(0)
	for b.Loop() {
		b.StopTimer()
		backup, err := Dial(context.Background(), NICConfig{Switch: s.Addresses()[0], VM: "vm", MAC: macA})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.Write(m); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, m); err != nil {
			b.Fatal(fmt.Errorf("before failover %d: %w", number, err))
		}
		halt()
		c.Write(m)
		b.StartTimer()
		kill(live)
		number++
		backup.GoLive(fence(number))
		live, halt = backup, g.runOn(backup)
		if _, err := io.ReadFull(c, m); err != nil {
			b.Fatal(fmt.Errorf("after failover %d: %w", number, err))
		}
	}
	halt()
	live.Close()
}
