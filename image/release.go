package image

import (
	"bytes"
	_ "embed" // the archive keys
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// What the guest is made of.
const (
	codename     = "trixie"
	architecture = "riscv64"
	origin       = "Debian"
)

// maxClockError is how far in the future a release may be dated.
const maxClockError = 24 * time.Hour

//go:embed keys/debian-archive-trixie-automatic.gpg
var automaticKey []byte

//go:embed keys/debian-archive-trixie-stable.gpg
var stableKey []byte

// archiveKeys are the keys that may sign a release: the embedded ones, or
// those of ring (binary OpenPGP) if it is not nil.
func archiveKeys(ring []byte) (openpgp.EntityList, error) {
	rings := [][]byte{automaticKey, stableKey}
	if ring != nil {
		rings = [][]byte{ring}
	}
	var keys openpgp.EntityList
	for _, r := range rings {
		list, err := openpgp.ReadKeyRing(bytes.NewReader(r))
		if err != nil {
			return nil, fmt.Errorf("image: archive keys: %w", err)
		}
		keys = append(keys, list...)
	}
	return keys, nil
}

// A fileSum is what a signed list says of a file.
type fileSum struct {
	size   int64
	sha256 string // hex
}

// A release is the verified content of an InRelease file.
type release struct {
	version string // "13.8"
	byHash  bool
	files   map[string]fileSum // below dists/CODENAME
}

// parseRelease checks the signature and the statements of an InRelease file.
// Only signed text is looked at.
func parseRelease(inRelease []byte, keys openpgp.KeyRing, now time.Time) (*release, error) {
	block, _ := clearsign.Decode(inRelease)
	if block == nil {
		return nil, errors.New("InRelease is not a signed file (an error page or a login page of the network?)")
	}
	config := &packet.Config{Time: func() time.Time { return now }}
	if _, err := block.VerifySignature(keys, config); err != nil {
		return nil, fmt.Errorf("the signature of InRelease is not by Debian's %s keys: %w", codename, err)
	}
	var p paragraph
	if err := readControl(bytes.NewReader(block.Plaintext), func(q paragraph) error {
		if p != nil {
			return errors.New("more than one paragraph")
		}
		p = q
		return nil
	}); err != nil {
		return nil, fmt.Errorf("InRelease: %w", err)
	}
	switch {
	case p["origin"] != origin:
		return nil, fmt.Errorf("InRelease says Origin: %s, not %s", p["origin"], origin)
	case p["codename"] != codename:
		return nil, fmt.Errorf("InRelease says Codename: %s, not %s", p["codename"], codename)
	}
	if err := checkDates(p, now); err != nil {
		return nil, err
	}
	r := &release{version: p["version"], byHash: p["acquire-by-hash"] == "yes", files: map[string]fileSum{}}
	for line := range strings.Lines(p["sha256"]) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if len(words) != 3 {
			return nil, fmt.Errorf("InRelease: bad SHA256 line %.80q", line)
		}
		sum, err := newFileSum(words[1], words[0])
		if err != nil {
			return nil, fmt.Errorf("InRelease: %s: %w", words[2], err)
		}
		r.files[words[2]] = sum
	}
	return r, nil
}

// checkDates refuses a release of the future and one that has expired: a
// mirror that shows an old archive for ever hides its repairs.
func checkDates(p paragraph, now time.Time) error {
	date, err := releaseTime(p["date"])
	if err != nil {
		return fmt.Errorf("InRelease: Date: %w", err)
	}
	if date.After(now.Add(maxClockError)) {
		return fmt.Errorf("InRelease is dated %s, which is in the future: is the clock of this machine right?", p["date"])
	}
	if p["valid-until"] == "" {
		return nil
	}
	end, err := releaseTime(p["valid-until"])
	if err != nil {
		return fmt.Errorf("InRelease: Valid-Until: %w", err)
	}
	if now.After(end) {
		return fmt.Errorf("InRelease was valid until %s: the mirror is out of date, or the clock of this machine is wrong", p["valid-until"])
	}
	return nil
}

// releaseTime reads the date format of the archive, which is always UTC.
func releaseTime(s string) (time.Time, error) {
	for _, zone := range []string{" UTC", " GMT", " +0000", " Z"} {
		if rest, ok := strings.CutSuffix(s, zone); ok {
			return time.Parse("Mon, _2 Jan 2006 15:04:05", rest)
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a date in UTC", s)
}

func newFileSum(size, sum string) (fileSum, error) {
	n, err := strconv.ParseInt(size, 10, 64)
	if err != nil || n < 0 {
		return fileSum{}, fmt.Errorf("%q is no size", size)
	}
	if b, err := hex.DecodeString(sum); err != nil || len(b) != 32 {
		return fileSum{}, fmt.Errorf("%q is no SHA-256", sum)
	}
	return fileSum{size: n, sha256: strings.ToLower(sum)}, nil
}
