package demo

import (
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/lockstep-vm/lockstep/vm"
)

// frameEvery is how often the screen looks at the scene.
const frameEvery = 100 * time.Millisecond

// tui is the model of the screen. It looks at the scene by snapshots and acts on
// it only by its hands, so that it can be tested without either.
//
//	boot ──first answer──► work ──q──► final read ──► over
//	  └────────q────────► abort ◄──q────────┘
type tui struct {
	look  func(spans, notes int) snapshot
	hands hands

	width, height int
	now           snapshot
	primary       meter
	backup        meter
	leaving       bool // q was pressed
	aborting      bool // q was pressed again, or while there was nothing to finish
}

// hands are what the keys do.
type hands struct {
	kill  func(Kill)
	leave func() // ends the client's work; called once
	abort func() // ends everything
}

func newTUI(look func(spans, notes int) snapshot, h hands) tui {
	return tui{look: look, hands: h, width: 80, height: 24}
}

// frame is a new snapshot.
type frame snapshot

func (m tui) Init() tea.Cmd { return m.shoot() }

// shoot takes the next snapshot.
func (m tui) shoot() tea.Cmd {
	look, width, height := m.look, m.width, m.height
	return tea.Tick(frameEvery, func(time.Time) tea.Msg { return frame(look(width, height)) })
}

func (m tui) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case frame:
		m.take(snapshot(msg))
		return m, m.shoot()
	case tea.KeyPressMsg:
		return m.key(msg.String())
	}
	return m, nil
}

// take makes a snapshot the present one.
func (m *tui) take(next snapshot) {
	if next.act >= actReading {
		// The final read is not the client's work: the graph stays as it was.
		next.recent = m.now.recent
	}
	for i, n := range m.now.around {
		if i < len(next.around) && next.around[i] < 0 {
			next.around[i] = n // counted before, no longer kept by the client
		}
	}
	m.now = next
	m.primary = m.primary.with(next.primary)
	m.backup = m.backup.with(next.backup)
}

func (m tui) key(key string) (tea.Model, tea.Cmd) {
	switch key {
	case "p":
		return m, m.kill(KillPrimary)
	case "b":
		return m, m.kill(KillBackup)
	case "x":
		return m, m.kill(KillPartition)
	case "q", "ctrl+c":
		if m.now.act == actWork && !m.leaving {
			m.leaving = true
			return m, does(m.hands.leave)
		}
		m.leaving, m.aborting = true, true
		return m, does(m.hands.abort)
	}
	return m, nil
}

// kill does to the pair what a key says, if it can still be done.
func (m tui) kill(k Kill) tea.Cmd {
	if m.now.act != actWork || m.leaving || m.now.failover.killed != KillNone {
		return nil
	}
	return does(func() { m.hands.kill(k) })
}

// does calls a function outside of Update.
func does(f func()) tea.Cmd {
	return func() tea.Msg {
		f()
		return nil
	}
}

// meter turns the counts of a replica's newest statuses into rates. It is a
// value: with makes another one.
type meter []vm.Status

// meterSpan is the time over which rates are taken.
const meterSpan = time.Second

func (m meter) with(p part) meter {
	st := p.status
	switch {
	case p.ended || !p.started || st.Time.IsZero():
		return nil
	case len(m) > 0 && !st.Time.After(m[len(m)-1].Time):
		return m
	case len(m) > 0 && st.Log.Bytes < m[len(m)-1].Log.Bytes:
		m = nil // counted anew
	}
	for len(m) > 1 && st.Time.Sub(m[1].Time) >= meterSpan {
		m = m[1:]
	}
	return append(m[:len(m):len(m)], st)
}

// rates are the share of a core that the replica uses, and the Mbit/s of log
// that it makes; not ok while that cannot be told.
func (m meter) rates() (cpu, mbit float64, ok bool) {
	if len(m) < 2 {
		return 0, 0, false
	}
	first, last := m[0], m[len(m)-1]
	took := last.Time.Sub(first.Time)
	return float64(last.CPUNS-first.CPUNS) / float64(took),
		float64(last.Log.Bytes-first.Log.Bytes) * 8 / 1e6 / took.Seconds(), true
}
