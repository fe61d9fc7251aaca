package porttest

import (
	"net"
	"strconv"
	"testing"
)

func TestAddress(t *testing.T) {
	address := Address()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, s, _ := net.SplitHostPort(address)
	// Linux gives ports from 32768 on and others from 49152 on, if nobody has
	// changed that.
	if port, err := strconv.Atoi(s); err != nil || port < 1024 || port >= 32_768 {
		t.Errorf("%s: %v", address, err)
	}
}
