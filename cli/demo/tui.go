package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	tea "charm.land/bubbletea/v2"
)

// watch plays the scene with a screen before it, from which the user kills,
// partitions and quits. The report comes when the terminal is as it was.
func watch(ctx context.Context, s *scene, in, out *os.File, play func(context.Context) (*Report, error)) (*Report, error) {
	// A terminal that goes away ends the demo as a signal does: by tearing down.
	ctx, stay := signal.NotifyContext(ctx, syscall.SIGHUP)
	defer stay()
	ctx, abort := context.WithCancelCause(ctx)
	defer abort(nil)
	j := &journal{start: time.Now()}
	quit := make(chan struct{})
	s.note, s.quit = j.note, quit
	m := newTUI(func(spans, notes int) snapshot { return s.look(j, spans, notes) }, hands{
		kill:  s.kill,
		leave: func() { close(quit) },
		abort: func() { abort(errLeft) },
	})
	// Signals come by ctx; what Ctrl-C sends in raw mode is a key.
	screen := tea.NewProgram(m, tea.WithInput(in), tea.WithOutput(out), tea.WithoutSignalHandler())

	var report *Report
	var err error
	var bug any
	played := make(chan struct{})
	go func() {
		defer close(played)
		defer func() {
			// A bug must not leave the terminal raw: it goes on when the screen is gone.
			bug = recover()
			screen.Quit()
		}()
		report, err = play(ctx)
	}()
	stop := context.AfterFunc(ctx, func() {
		if !errors.Is(context.Cause(ctx), errLeft) {
			screen.Quit() // at once; what is left is only tearing down
		}
	})
	defer stop()
	_, screenErr := screen.Run()
	if screenErr != nil {
		abort(fmt.Errorf("demo: the screen: %w", screenErr))
	}
	<-played
	j.print(out)
	switch {
	case bug != nil:
		panic(bug)
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	return report, err
}

// errLeft is the end of a demo that the user did not wait for.
var errLeft = errors.New("demo: ended by the user before the final read")
