package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestRunSaysWhatItNeeds(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "config.yaml")
	for name, test := range map[string]struct{ fault, want string }{
		"a configuration": {"", missing},
		"a known fault":   {"wrong-fitler", "DATASTORAGE_FAULT"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("CONFIG_PATH", missing)
			t.Setenv("DATASTORAGE_FAULT", test.fault)
			if err := run(context.Background()); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v does not name %s", err, test.want)
			}
		})
	}
}

func TestOneLine(t *testing.T) {
	if got := oneLine(errors.New("failed to connect:\n\thost=postgres\n")); got != "failed to connect: host=postgres" {
		t.Errorf("%q", got)
	}
}

func TestListenFailsAtOnceForAPortThatIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	failed := make(chan error, 1)
	if err := listen(&http.Server{}, "127.0.0.1", taken.Addr().(*net.TCPAddr).Port, failed); err == nil {
		t.Error("listens on it")
	}
}

func TestStopWaitsForWhatRunsInBackground(t *testing.T) {
	ended := false
	stop := inBackground(func(ctx context.Context) {
		<-ctx.Done()
		time.Sleep(10 * time.Millisecond)
		ended = true
	})
	stop()
	stop() // serve defers it too
	if !ended {
		t.Error("did not wait")
	}
}

func TestWithinEndsWhatTakesTooLong(t *testing.T) {
	err := within(time.Millisecond, func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
