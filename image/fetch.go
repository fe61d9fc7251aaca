package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

// Limits of a transfer.
const (
	attempts       = 4
	stallTimeout   = 30 * time.Second // without a byte
	connectTimeout = 10 * time.Second
	maxInRelease   = 4 << 20
	maxPackageFile = 1 << 30
)

// newClient is an HTTP client that goes through the proxies which apt or the
// environment name, and that gives up on a server that says nothing.
func newClient(conf aptConfig) *http.Client {
	return &http.Client{Transport: &http.Transport{
		Proxy:                 conf.proxy,
		DialContext:           (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSHandshakeTimeout:   connectTimeout,
		ResponseHeaderTimeout: stallTimeout,
		IdleConnTimeout:       stallTimeout,
		MaxIdleConnsPerHost:   2,
		ForceAttemptHTTP2:     true,
	}}
}

// A fetcher transfers files. Progress is told the bytes that a transfer has
// come to; it goes back when a transfer starts again.
type fetcher struct {
	client *http.Client
	pause  time.Duration // before the second attempt; doubles from there
}

// A statusError is an answer of the server that is no success.
type statusError struct{ code int }

func (e statusError) Error() string {
	return fmt.Sprintf("the server answers %d %s", e.code, http.StatusText(e.code))
}

// final: asking again would give the same answer.
func (e statusError) final() bool {
	return e.code/100 == 4 && e.code != http.StatusRequestTimeout && e.code != http.StatusTooManyRequests
}

// A staleError is a file of another length than the signed list says: that of
// another day. Asking again at once would give the same answer.
type staleError struct{ got, want int64 }

func (e staleError) Error() string {
	return fmt.Sprintf("it is %d bytes long, the signed list says %d: the mirror is in the middle of an update or stopped updating", e.got, e.want)
}

// errCorrupt is a file that is not what the signed list says.
var errCorrupt = errors.New("not what the signed list says")

// again calls try until it succeeds, fails for good, or has failed often.
func (f *fetcher) again(ctx context.Context, try func() error) error {
	pause := f.pause
	var err error
	for n := range attempts {
		if n > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(pause):
			}
			pause *= 2
		}
		if err = try(); err == nil || ctx.Err() != nil || final(err) {
			break
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// final: trying again would not help.
func final(err error) bool {
	var status statusError
	var stale staleError
	return errors.As(err, &stale) || errors.As(err, &status) && status.final() || errors.Is(err, syscall.ENOSPC)
}

// small fetches a file whose sum is not known beforehand, of at most limit
// bytes.
func (f *fetcher) small(ctx context.Context, url string, limit int64) (data []byte, err error) {
	err = f.again(ctx, func() error {
		body, err := f.open(ctx, url, 0)
		if err != nil {
			return err
		}
		defer func() { _ = body.Close() }()
		data, err = io.ReadAll(io.LimitReader(body, limit+1))
		if err == nil && int64(len(data)) > limit {
			return fmt.Errorf("the answer is longer than %d bytes", limit)
		}
		return err
	})
	return data, err
}

// file fetches url into path, checks size and sum while the bytes arrive, and
// gives the file its name only when it is whole and right. A broken transfer
// is resumed where it stopped.
func (f *fetcher) file(ctx context.Context, url, path string, want fileSum, progress func(done int64)) error {
	part := path + ".part"
	out, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer os.Remove(part)
	defer out.Close()
	sum, done := sha256.New(), int64(0)
	restart := func() error {
		sum.Reset()
		done = 0
		if err := out.Truncate(0); err != nil {
			return err
		}
		_, err := out.Seek(0, io.SeekStart)
		return err
	}
	err = f.again(ctx, func() error {
		body, err := f.open(ctx, url, done)
		if err != nil {
			return err
		}
		defer func() { _ = body.Close() }()
		if body.from != done {
			if err := restart(); err != nil {
				return err
			}
		}
		if body.length >= 0 && body.from+body.length != want.size {
			return staleError{body.from + body.length, want.size}
		}
		n, err := copySum(out, sum, io.LimitReader(body, want.size-done+1), func(n int64) { progress(done + n) })
		done += n
		switch {
		case done > want.size:
			return errors.Join(restart(), fmt.Errorf("%w: longer than %d bytes", errCorrupt, want.size))
		case err != nil:
			return err
		case done < want.size:
			return fmt.Errorf("the transfer ended after %d of %d bytes", done, want.size)
		case hex.EncodeToString(sum.Sum(nil)) != want.sha256:
			got := hex.EncodeToString(sum.Sum(nil))
			return errors.Join(restart(), fmt.Errorf("%w: its SHA-256 is %s, not %s", errCorrupt, got, want.sha256))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.Rename(part, path)
}

// open asks for url from an offset on.
func (f *fetcher) open(ctx context.Context, url string, offset int64) (*answer, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	// The sums are of the bytes as they are stored.
	req.Header.Set("Accept-Encoding", "identity")
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := f.client.Do(req)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	from := int64(0)
	switch {
	case resp.StatusCode == http.StatusOK:
	case resp.StatusCode == http.StatusPartialContent && offset > 0:
		from = offset
	default:
		resp.Body.Close()
		cancel(nil)
		return nil, statusError{resp.StatusCode}
	}
	a := &answer{body: resp.Body, from: from, length: resp.ContentLength, cancel: cancel}
	a.timer = time.AfterFunc(stallTimeout, func() { cancel(errStalled) })
	a.cause = func() error { return context.Cause(ctx) }
	return a, nil
}

var errStalled = fmt.Errorf("no byte came for %v", stallTimeout)

// An answer is a body on its way. It gives up when no byte comes for
// stallTimeout.
type answer struct {
	body   io.ReadCloser
	from   int64 // offset of its first byte in the file
	length int64 // of what is on its way; -1 if not known
	timer  *time.Timer
	cancel context.CancelCauseFunc
	cause  func() error
}

func (a *answer) Read(b []byte) (int, error) {
	n, err := a.body.Read(b)
	if n > 0 {
		a.timer.Reset(stallTimeout)
	}
	if err != nil && err != io.EOF && errors.Is(a.cause(), errStalled) {
		err = errStalled
	}
	return n, err
}

func (a *answer) Close() error {
	a.timer.Stop()
	a.cancel(nil)
	return a.body.Close()
}

// copySum copies r to out and to the sum.
func copySum(out io.Writer, sum hash.Hash, r io.Reader, progress func(n int64)) (int64, error) {
	buf := make([]byte, 64<<10)
	done := int64(0)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if _, err := out.Write(buf[:n]); err != nil {
				return done, err
			}
			sum.Write(buf[:n])
			done += int64(n)
			progress(done)
		}
		if err == io.EOF {
			return done, nil
		}
		if err != nil {
			return done, err
		}
	}
}
