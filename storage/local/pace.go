package local

import (
	"context"
	"time"
)

// Limit is a Pace of so many bytes a second.
func Limit(bytesPerSecond int64) func(ctx context.Context, n int) error {
	var next time.Time
	return func(ctx context.Context, n int) error {
		if now := time.Now(); next.Before(now) {
			next = now
		}
		wait := time.Until(next)
		next = next.Add(time.Duration(float64(n) / float64(bytesPerSecond) * float64(time.Second)))
		if wait <= 0 {
			return ctx.Err()
		}
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
			return nil
		}
	}
}
