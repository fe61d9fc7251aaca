package network

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockstep-vm/lockstep/ft"
)

// NICConfig says which port of which switch a NIC's host half plugs into.
type NICConfig struct {
	Switch   string // "unix:/path" or "tcp:127.0.0.1:port"
	Insecure bool   // allow a TCP switch beyond loopback
	VM       string // name of the VM: with Index it names the logical port
	Index    uint8  // index of the NIC within the VM
	MAC      MAC    // of the guest's NIC

	// ReceiveFrames bounds the frames that wait for the guest to have room;
	// what comes on top is dropped, as a NIC does. 0 means 1024.
	ReceiveFrames int
}

// NICEventKind is what happened to a NIC's attachment.
type NICEventKind uint8

const (
	// NICLive: the switch granted the port to this NIC's fence number.
	NICLive NICEventKind = 1
	// NICRefused: another holds the port. Final; the process must halt if it was live.
	NICRefused NICEventKind = 2
	// NICLost: the connection to the switch broke; frames are lost until NICRestored, as with a pulled cable.
	NICLost NICEventKind = 3
	// NICRestored: the connection stands again, with the same fence number if there was one.
	NICRestored NICEventKind = 4
)

func (k NICEventKind) String() string {
	switch k {
	case NICLive:
		return "live"
	case NICRefused:
		return "refused"
	case NICLost:
		return "lost"
	case NICRestored:
		return "restored"
	}
	return fmt.Sprintf("NICEventKind(%d)", uint8(k))
}

// NICEvent is one event of Events. Err says why for NICRefused (*RefusedError) and NICLost.
type NICEvent struct {
	Kind NICEventKind
	Err  error
}

// Received is a frame for the guest. Numbers rise by one per frame of the
// logical port and restart with the switch; Bytes belongs to the receiver.
type Received struct {
	Number uint64
	Bytes  []byte
}

// NIC is the host half of a virtio network device, plugged into a switch. All
// methods may be called from any goroutine and none waits for the switch.
//
//	Dial --> standby --GoLive--> live <--> lost (redials by itself)
//	            |                 |
//	            +---- refused ----+          final
type NIC struct {
	cfg     NICConfig
	addr    Address
	process [16]byte
	frames  chan Received
	events  chan NICEvent
	ctx     context.Context
	cancel  context.CancelFunc
	done    sync.WaitGroup

	mu        sync.Mutex
	out       *sender // nil while the connection is lost
	fence     ft.Fence
	live      bool // GoLive was called
	refused   bool
	closed    bool
	neighbour announcer
	sw        [16]byte // the switch of the present connection
	received  uint64   // highest number received from it

	confirmed                      atomic.Uint64
	sent, got, sendDrops, gotDrops atomic.Uint64
}

// Dial plugs the NIC into its switch in standby: it receives nothing and sends
// nothing until GoLive. It fails if the switch does not answer or refuses.
func Dial(ctx context.Context, cfg NICConfig) (*NIC, error) {
	addr, err := ParseAddress(cfg.Switch, cfg.Insecure)
	if err != nil {
		return nil, err
	}
	if cfg.VM == "" || len(cfg.VM) > maxName {
		return nil, fmt.Errorf("network: the VM's name %q must have 1 to %d bytes", cfg.VM, maxName)
	}
	if cfg.MAC[0]&1 != 0 || cfg.MAC == (MAC{}) {
		return nil, fmt.Errorf("network: %s is not the MAC address of a NIC; choose one with an even first byte, like 52:54:00:12:34:56", cfg.MAC)
	}
	if cfg.ReceiveFrames == 0 {
		cfg.ReceiveFrames = 1024
	}
	n := &NIC{
		cfg:       cfg,
		addr:      addr,
		frames:    make(chan Received, cfg.ReceiveFrames),
		events:    make(chan NICEvent, 16),
		neighbour: announcer{mac: cfg.MAC},
	}
	rand.Read(n.process[:])
	n.ctx, n.cancel = context.WithCancel(context.Background())
	link, err := n.connect(ctx)
	if err != nil {
		n.cancel()
		return nil, err
	}
	n.done.Go(func() { n.run(link) })
	return n, nil
}

// GoLive asks the switch for the port with the process's fence number (R15).
// What is sent afterwards follows the request in order, so the caller need not
// wait; the answer is the event NICLive or NICRefused. Frames that the last
// live port had not confirmed are received first. Called once.
func (n *NIC) GoLive(fence ft.Fence) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.live {
		panic("network: BUG: GoLive called twice on one NIC")
	}
	n.live, n.fence = true, fence
	if n.out != nil && !n.refused {
		n.out.put(goLive{fence: fence, sw: n.sw, received: n.received}.encode())
	}
}

// Frames delivers what the switch sends to the guest. Take one when the guest
// has room for it; it is never closed.
func (n *NIC) Frames() <-chan Received { return n.frames }

// Events delivers what happens to the attachment; it is never closed. An event
// that nobody takes is dropped, but never NICRefused.
func (n *NIC) Events() <-chan NICEvent { return n.events }

// Send hands a released frame to the switch. It never waits: if the switch is
// gone, has refused, or takes nothing more, the frame is dropped as on a wire.
// frame is not kept.
func (n *NIC) Send(frame []byte) {
	if len(frame) < minFrame || len(frame) > maxFrame {
		n.sendDrops.Add(1)
		return
	}
	n.mu.Lock()
	out := n.out
	if !n.live || n.refused {
		out = nil
	}
	n.mu.Unlock()
	head := sendHeader(len(frame))
	if out == nil || !out.put(head[:], frame) {
		n.sendDrops.Add(1)
		return
	}
	n.sent.Add(1)
}

// Confirm tells the switch that the frame of this number and all before it are
// in the log, and acknowledged by the backup if there is one; the switch will
// not give them to the next live port.
func (n *NIC) Confirm(number uint64) {
	for {
		old := n.confirmed.Load()
		if number <= old {
			return
		}
		if n.confirmed.CompareAndSwap(old, number) {
			break
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.out != nil && n.live && !n.refused {
		n.out.put(encodeConfirm(number))
	}
}

// Learn watches a frame that the guest sends for the addresses that Announce
// will need. A backup calls it with the outputs that it replays.
func (n *NIC) Learn(frame []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.neighbour.learn(frame)
}

// Announce tells the network where the guest is now, at once and again for
// some seconds: to be called after GoLive. It does not wait.
func (n *NIC) Announce() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	for _, f := range n.neighbour.frames() {
		n.sendLocked(f)
	}
	n.done.Go(func() {
		for _, d := range announceAgain {
			select {
			case <-n.ctx.Done():
				return
			case <-time.After(d):
			}
			n.mu.Lock()
			for _, f := range n.neighbour.frames() {
				n.sendLocked(f)
			}
			n.mu.Unlock()
		}
	})
}

func (n *NIC) sendLocked(frame []byte) {
	if n.out == nil || !n.live || n.refused {
		return
	}
	head := sendHeader(len(frame))
	n.out.put(head[:], frame)
}

// NICStatus counts what a NIC has done, for status output.
type NICStatus struct {
	Switch       string `json:"switch"`
	Connected    bool   `json:"connected"`
	Live         bool   `json:"live"`
	Refused      bool   `json:"refused"`
	Sent         uint64 `json:"sent"`          // frames
	SendDropped  uint64 `json:"send_dropped"`  // frames
	Received     uint64 `json:"received"`      // frames
	RecvDropped  uint64 `json:"recv_dropped"`  // frames for which the guest had no room
	RecvWaiting  int    `json:"recv_waiting"`  // frames
	ConfirmedTo  uint64 `json:"confirmed_to"`  // number of a frame
	ReceivedUpTo uint64 `json:"received_upto"` // number of a frame
}

// Status returns a copy of the counts.
func (n *NIC) Status() NICStatus {
	n.mu.Lock()
	defer n.mu.Unlock()
	return NICStatus{
		Switch:       n.addr.String(),
		Connected:    n.out != nil,
		Live:         n.live && !n.refused,
		Refused:      n.refused,
		Sent:         n.sent.Load(),
		SendDropped:  n.sendDrops.Load(),
		Received:     n.got.Load(),
		RecvDropped:  n.gotDrops.Load(),
		RecvWaiting:  len(n.frames),
		ConfirmedTo:  n.confirmed.Load(),
		ReceivedUpTo: n.received,
	}
}

// Close unplugs the NIC and waits for its goroutines. What has been sent is
// flushed first, for a bounded time.
func (n *NIC) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	out := n.out
	n.mu.Unlock()
	if out != nil {
		out.finish()
		out.wait()
	}
	n.cancel()
	n.done.Wait()
	return nil
}
