package datastorage

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/kubernaut/workspace/internal/config"
	"github.com/kubernaut/workspace/pkg/audit"
	"github.com/kubernaut/workspace/pkg/problem"
)

// Fault breaks one behaviour on purpose, so that a suite can be seen to fail.
// The values of DATASTORAGE_FAULT are its names; README.md has the specs that
// each turns red.
type Fault struct {
	Database func(config.Database) config.Database
	Store    func(Store) Store
	Fallback func(Fallback) Fallback
	Backlog  func(Backlog) Backlog
	Handler  func(http.Handler) http.Handler
}

var faults = map[string]Fault{
	"drop-batch-tail":    {Store: func(s Store) Store { return dropBatchTail{s} }},
	"wrong-filter":       {Store: func(s Store) Store { return wrongFilter{s} }},
	"wrong-order":        {Store: func(s Store) Store { return wrongOrder{s} }},
	"forget-ids":         {Store: func(s Store) Store { return forgetIDs{s, &sync.Map{}} }},
	"always-healthy":     {Store: func(s Store) Store { return alwaysHealthy{s} }},
	"no-rfc7807":         {Handler: plainErrors},
	"crash-on-batch":     {Store: func(s Store) Store { return crashOnBatch{s} }},
	"forget-queue":       {Fallback: func(f Fallback) Fallback { return forgetQueue{f} }},
	"drain-newest-first": {Backlog: func(b Backlog) Backlog { return newestFirst{b} }},
	"no-pool-limit":      {Database: noPoolLimit},
}

// FaultNamed returns the fault that breaks nothing for an empty name.
func FaultNamed(name string) (Fault, error) {
	fault, ok := faults[name]
	if !ok && name != "" {
		names := slices.Sorted(maps.Keys(faults))
		return Fault{}, fmt.Errorf("DATASTORAGE_FAULT: %q is not one of: %s", name, strings.Join(names, ", "))
	}
	fault.Database = orSame(fault.Database)
	fault.Store = orSame(fault.Store)
	fault.Fallback = orSame(fault.Fallback)
	fault.Backlog = orSame(fault.Backlog)
	fault.Handler = orSame(fault.Handler)
	return fault, nil
}

func orSame[T any](change func(T) T) func(T) T {
	if change == nil {
		return func(same T) T { return same }
	}
	return change
}

type dropBatchTail struct{ Store }

func (s dropBatchTail) Insert(ctx context.Context, events ...audit.Event) error {
	if len(events) > 1 {
		events = events[:len(events)-1]
	}
	return s.Store.Insert(ctx, events...)
}

type wrongFilter struct{ Store }

func (s wrongFilter) Query(ctx context.Context, f Filter) ([]audit.Event, int, error) {
	f.Type = ""
	return s.Store.Query(ctx, f)
}

type wrongOrder struct{ Store }

func (s wrongOrder) Query(ctx context.Context, f Filter) ([]audit.Event, int, error) {
	events, total, err := s.Store.Query(ctx, f)
	slices.Reverse(events)
	return events, total, err
}

type forgetIDs struct {
	Store
	seen *sync.Map
}

// Insert forgets what was not stored: an event that comes from the queue is
// delivered for the first time.
func (s forgetIDs) Insert(ctx context.Context, events ...audit.Event) error {
	events = slices.Clone(events)
	var first []string
	for i, e := range events {
		if _, again := s.seen.LoadOrStore(e.ID, true); again {
			events[i].ID = uuid.NewString()
		} else {
			first = append(first, e.ID)
		}
	}
	err := s.Store.Insert(ctx, events...)
	if err != nil {
		for _, id := range first {
			s.seen.Delete(id)
		}
	}
	return err
}

type alwaysHealthy struct{ Store }

func (alwaysHealthy) Ping(context.Context) error { return nil }

type forgetQueue struct{ Fallback }

func (forgetQueue) Add(context.Context, audit.Event) error { return nil }

type newestFirst struct{ Backlog }

func (b newestFirst) Peek(ctx context.Context, count int64) ([]Queued, error) {
	queued, err := b.Backlog.Peek(ctx, count)
	slices.Reverse(queued)
	return queued, err
}

func noPoolLimit(cfg config.Database) config.Database {
	cfg.MaxOpenConns *= 4
	return cfg
}

type crashOnBatch struct{ Store }

func (s crashOnBatch) Insert(ctx context.Context, events ...audit.Event) error {
	if len(events) > 1 {
		fmt.Fprintln(os.Stderr, "panic: DATASTORAGE_FAULT=crash-on-batch")
		os.Exit(2)
	}
	return s.Store.Insert(ctx, events...)
}

func plainErrors(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		buffered := &response{header: w.Header(), status: http.StatusOK}
		next.ServeHTTP(buffered, r)
		if w.Header().Get("Content-Type") == problem.ContentType {
			http.Error(w, http.StatusText(buffered.status), buffered.status)
			return
		}
		w.WriteHeader(buffered.status)
		_, _ = w.Write(buffered.body.Bytes())
	})
}

type response struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *response) Header() http.Header            { return r.header }
func (r *response) WriteHeader(status int)         { r.status = status }
func (r *response) Write(body []byte) (int, error) { return r.body.Write(body) }
