package demo

import (
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
)

// Styles take the terminal's own sixteen colours; without colours the words say
// the same.
var (
	bold   = lipgloss.NewStyle().Bold(true)
	dim    = lipgloss.NewStyle().Foreground(lipgloss.BrightBlack)
	good   = lipgloss.NewStyle().Foreground(lipgloss.Green)
	warn   = lipgloss.NewStyle().Foreground(lipgloss.Yellow)
	bad    = lipgloss.NewStyle().Foreground(lipgloss.Red)
	accent = lipgloss.NewStyle().Foreground(lipgloss.Cyan)
)

// The smallest screen on which the parts do not fall over each other.
const (
	minWidth  = 60
	minHeight = 20
)

func (m tui) View() tea.View {
	v := tea.NewView(m.screen())
	v.AltScreen = true
	v.WindowTitle = "lockstep demo"
	return v
}

// screen is every line, from the top to the bottom; the notes take what is left
// between the middle and the last two lines.
func (m tui) screen() string {
	if m.width < minWidth || m.height < minHeight {
		return fmt.Sprintf("The demo needs %d x %d characters\nand has %d x %d. q quits.", minWidth, minHeight, m.width, m.height)
	}
	lines := []string{m.title(), m.subtitle()}
	lines = append(lines, m.replicas()...)
	lines = append(lines, m.client()...)
	lines = append(lines, m.loss()...)
	last := []string{m.outlook(), m.keys()}
	room := max(m.height-len(lines)-len(last), 0)
	notes := m.now.notes[max(0, len(m.now.notes)-room):]
	for _, n := range notes {
		lines = append(lines, dim.Render(fmt.Sprintf("%7.2f", n.at.Seconds()))+"  "+n.text)
	}
	for range room - len(notes) {
		lines = append(lines, "")
	}
	lines = append(lines, last...)
	for i, line := range lines {
		lines[i] = ansi.Truncate(line, m.width, "…")
	}
	return strings.Join(lines, "\n")
}

func (m tui) title() string {
	return spread(bold.Render(" lockstep demo")+dim.Render("  one guest, two processes, one TCP connection"), seconds(m.now.elapsed)+" ", m.width)
}

// subtitle tells of the guest: while it boots, what it says.
func (m tui) subtitle() string {
	s := m.now
	switch {
	case s.boot.took > 0:
		text := fmt.Sprintf("%s, booted in %s, %.2f G instructions", s.kernel, seconds(s.boot.took), float64(s.boot.instructions)/1e9)
		if s.disk {
			text += fmt.Sprintf(", %s disk blocks verified", thousands(s.verified))
		}
		return " " + text
	case s.lastLine != "":
		return " " + accent.Render("console") + "  " + s.lastLine
	}
	return ""
}

// replicas are two boxes side by side.
func (m tui) replicas() []string {
	width := m.width / 2
	p, b := m.now.primary, m.now.backup
	left := box("primary", p, partLines(p, m.primary), width)
	facts := partLines(b, m.backup)
	if !b.ended && b.started {
		// What the pair says of the backup takes the lines that only a live side fills.
		if lag := p.status.Lag; b.status.Log.Entries == 0 && lag.Count > 0 && !p.ended {
			facts[4] = fact("lag", fmt.Sprintf("%s  (99 %%: %s)", short(lag.P50), short(lag.P99)))
		}
		if d := b.status.Digests; b.status.Log.Entries == 0 && d.Compared > 0 {
			facts[5] = fact("digests", fmt.Sprintf("%d compared, %d different", d.Compared, d.Different))
		}
	}
	right := box("backup", b, facts, m.width-width)
	lines := make([]string, len(left))
	for i := range left {
		lines[i] = left[i] + right[i]
	}
	return lines
}

// partLines are the six lines of a replica.
func partLines(p part, rates meter) []string {
	lines := make([]string, 6)
	if !p.started {
		return lines
	}
	st := p.status
	lines[0] = fact("state", standing(p))
	lines[1] = fact("position", thousands(st.Position))
	lines[2] = fact("guest", fmt.Sprintf("%.2f s since power-on", float64(st.GuestNS)/1e9))
	cpu, mbit, ok := rates.rates()
	switch {
	case ok:
		lines[3] = fact("cpu", fmt.Sprintf("%.0f %%  (%.1f s in all)", 100*cpu, float64(st.CPUNS)/1e9))
	case st.CPUNS > 0:
		lines[3] = fact("cpu", fmt.Sprintf("%.1f s in all", float64(st.CPUNS)/1e9))
	}
	if st.Log.Entries > 0 {
		text := thousands(st.Log.Entries) + " entries"
		if ok {
			text = fmt.Sprintf("%.2f Mbit/s, %s", mbit, text)
		}
		lines[4] = fact("log", text)
	}
	if st.OutputDelay.Count > 0 {
		lines[5] = fact("output", fmt.Sprintf("held %s  (99 %%: %s)", short(st.OutputDelay.P50), short(st.OutputDelay.P99)))
	}
	return lines
}

// standing is a replica's state, in its colour.
func standing(p part) string {
	switch {
	case p.ended && p.code < 0:
		return bad.Render("killed")
	case p.ended && p.code == 0:
		return dim.Render("ended")
	case p.ended:
		return bad.Render(fmt.Sprintf("%s, exit code %d", p.status.State, p.code))
	}
	switch st := p.status.State; st {
	case "protected", "replaying":
		return good.Render(st)
	case "alone":
		return warn.Render(st) + dim.Render(", without a backup")
	default:
		return warn.Render(st)
	}
}

// client is a line and the graph of the operations.
func (m tui) client() []string {
	const height = 3
	t := m.now.tally
	head := dim.Render(" client    waits for the server's first answer")
	if t.Connections > 0 {
		head = fmt.Sprintf(" %s  %s/s, longest stall %s; %s operations, %s writes answered",
			accent.Render("client"), bold.Render(fmt.Sprintf("%.0f", perSecond(m.now.recent, 10))), bold.Render(fmt.Sprintf("%.0f ms", t.LongestStall)),
			thousands(uint64(t.Operations)), thousands(uint64(t.Acknowledged)))
	}
	room := m.width - 2
	counts := m.now.recent
	counts = counts[max(0, len(counts)-room):]
	lines := []string{head}
	for _, line := range graph(counts, height, -1) {
		lines = append(lines, " "+good.Render(line))
	}
	return lines
}

// loss is what happened at the failover: a line and the operations around it.
func (m tui) loss() []string {
	const height = 2
	f := m.now.failover
	if f.killed == KillNone || f.killed == "" {
		return nil
	}
	what := map[Kill]string{KillPrimary: "primary killed", KillBackup: "backup killed", KillPartition: "partitioned"}[f.killed]
	head := " " + bad.Render(what)
	if f.detected != nil {
		head += fmt.Sprintf(", noticed after %s", bold.Render(fmt.Sprintf("%.0f ms", *f.detected)))
	}
	if f.live != nil {
		head += fmt.Sprintf(", %s live after %s", f.survivor, bold.Render(fmt.Sprintf("%.0f ms", *f.live)))
	}
	head = spread(head, dim.Render(fmt.Sprintf("column: %d ms ", lossWidth.Milliseconds())), m.width)
	counts := m.now.around
	counts = counts[:min(len(counts), m.width-3)]
	lines := []string{head}
	for _, line := range graph(counts, height, lossBefore) {
		before, after, marked := strings.Cut(line, "┊")
		if marked {
			line = good.Render(before) + bad.Render("┊") + good.Render(after)
		}
		lines = append(lines, " "+line)
	}
	return lines
}

// outlook says what comes next, or how things will stay.
func (m tui) outlook() string {
	s := m.now
	text := ""
	switch {
	case m.aborting:
		text = warn.Render("Ending the processes.")
	case s.act == actOver:
		text = "Everything is measured; ending the processes."
	case s.act == actReading:
		text = "Reading every key again over the same connection."
	case m.leaving:
		text = "The client stops; then every key is read again over the same connection."
	case s.act == actSetUp && !s.primary.started:
		text = "The switch, the backup and the primary are being started."
	case s.act == actSetUp:
		text = "The guest boots on both; the client waits for its server's first answer."
	case s.failover.live != nil:
		text = warn.Render(fmt.Sprintf("The %s runs on alone, unprotected: the next loss would end the guest.", s.failover.survivor))
	case s.failover.killed != KillNone:
		text = warn.Render("One side is lost; the other finds out and claims the right to go on.")
	case s.plan == KillPrimary, s.plan == KillBackup:
		text = fmt.Sprintf("kill -9 to the %s in %s, or at once by key.", s.plan, bold.Render(seconds(max(s.planIn, 0))))
	case s.plan == KillPartition:
		text = fmt.Sprintf("The logging channel goes silent in %s, or at once by key.", bold.Render(seconds(max(s.planIn, 0))))
	default:
		text = "Protected: either side may be lost at any time."
	}
	return " " + text
}

// keys tells of the keys; those that do nothing now are dim.
func (m tui) keys() string {
	style := dim
	if m.now.act == actWork && !m.leaving && m.now.failover.killed == KillNone {
		style = bold
	}
	last := "q quit"
	if m.leaving {
		last = "q quit at once"
	}
	return style.Render(" p kill primary   b kill backup   x partition them   ") + bold.Render(last)
}

// box draws a frame with a name around lines. A side that has ended is dim.
func box(name string, p part, lines []string, width int) []string {
	frame := accent
	if p.ended {
		frame = dim
	}
	title := " " + name
	if p.pid != 0 {
		title += fmt.Sprintf(" · process %d", p.pid)
	}
	title = ansi.Truncate(title, width-5, "") + " "
	out := []string{frame.Render("╭─") + bold.Render(title) + frame.Render(strings.Repeat("─", max(width-3-ansi.StringWidth(title), 0))+"╮")}
	for _, line := range lines {
		line = ansi.Truncate(line, width-4, "…")
		pad := strings.Repeat(" ", max(width-4-ansi.StringWidth(line), 0))
		out = append(out, frame.Render("│ ")+line+pad+frame.Render(" │"))
	}
	return append(out, frame.Render("╰"+strings.Repeat("─", width-2)+"╯"))
}

func fact(name, value string) string { return dim.Render(fmt.Sprintf("%-9s", name)) + value }

// spread puts one text at the left and one at the right.
func spread(left, right string, width int) string {
	return left + strings.Repeat(" ", max(width-ansi.StringWidth(left)-ansi.StringWidth(right), 1)) + right
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// short is a duration in ns with a unit that suits it.
func short(ns uint64) string {
	switch {
	case ns < 1_000_000:
		return fmt.Sprintf("%d µs", ns/1000)
	case ns < 10_000_000:
		return fmt.Sprintf("%.1f ms", float64(ns)/1e6)
	}
	return fmt.Sprintf("%.0f ms", float64(ns)/1e6)
}

// thousands groups digits.
func thousands(n uint64) string {
	digits := fmt.Sprint(n)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}
