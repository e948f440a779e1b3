package datastorage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// What PostgreSQL says decides between 202, 422 and 500, and between a queued
// event that waits and one that is set aside.
func TestErrorsAreToldApart(t *testing.T) {
	for name, test := range map[string]struct {
		err                                error
		isUnavailable, isPartition, isData bool
	}{
		"the network":                 {errGone, true, false, false},
		"a timeout":                   {context.DeadlineExceeded, true, false, false},
		"a request that was given up": {context.Canceled, false, false, false},
		"too many connections":        {code("53300"), true, false, false},
		"a session that was ended":    {errShutdown, true, false, false},
		"a lost connection":           {code("08006"), true, false, false},
		"no partition":                {errNoPartition, false, true, true},
		"a check that has a name":     {&pgconn.PgError{Code: "23514", ConstraintName: "audit_events_object"}, false, false, true},
		"data that cannot be jsonb":   {code("22P05"), false, false, true},
		"a missing table":             {errNoTable, false, false, false},
		"no partition, wrapped":       {fmt.Errorf("insert: %w", errNoPartition), false, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := unavailable(test.err); got != test.isUnavailable {
				t.Errorf("unavailable: %v", got)
			}
			if got := noPartition(test.err); got != test.isPartition {
				t.Errorf("noPartition: %v", got)
			}
			if got := badData(test.err); got != test.isData {
				t.Errorf("badData: %v", got)
			}
		})
	}
}

func code(sqlState string) error { return &pgconn.PgError{Code: sqlState} }

// A database that takes no connections answers with an SQLSTATE of no class of
// those above; that it came while connecting is what counts.
func TestRefusedConnectionIsUnavailable(t *testing.T) {
	address := refusing(t, "55000")
	_, err := pgx.Connect(context.Background(), "postgres://u@"+address+"/action_history?sslmode=disable")
	if sqlErr := (*pgconn.PgError)(nil); !errors.As(err, &sqlErr) || sqlErr.Code != "55000" {
		t.Fatalf("%v", err)
	}
	if !unavailable(err) {
		t.Errorf("%v is not unavailable", err)
	}
}

// refusing is a PostgreSQL that answers the first message with an error.
func refusing(t *testing.T, code string) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		backend := pgproto3.NewBackend(conn, conn)
		if _, err := backend.ReceiveStartupMessage(); err != nil {
			return
		}
		backend.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: code, Message: "database is not currently accepting connections"})
		_ = backend.Flush()
	}()
	return listener.Addr().String()
}

func TestQuoteKeepsAValueInItsPlace(t *testing.T) {
	const name = `it's a \ name`
	cfg, err := pgx.ParseConfig("host=h dbname=" + quote(name) + " user=u")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Database != name || cfg.User != "u" {
		t.Errorf("database %q, user %q", cfg.Database, cfg.User)
	}
}
