package datastorage

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/kubernaut/workspace/pkg/audit"
	"github.com/kubernaut/workspace/pkg/problem"
)

type fakeStore struct {
	err    error
	stored []audit.Event
}

func (s *fakeStore) Ping(context.Context) error { return s.err }

func (s *fakeStore) Insert(_ context.Context, events ...audit.Event) error {
	if s.err == nil {
		s.stored = append(s.stored, events...)
	}
	return s.err
}

func (s *fakeStore) Query(context.Context, Filter) ([]audit.Event, int, error) {
	return []audit.Event{}, 0, s.err
}

type fakeQueue struct {
	err    error
	queued []Queued
	aside  []string
}

func (q *fakeQueue) Add(_ context.Context, e audit.Event) error {
	if q.err == nil {
		q.queued = append(q.queued, Queued{Entry: e.ID, Event: e})
	}
	return q.err
}

func (q *fakeQueue) Peek(context.Context, int64) ([]Queued, error) { return q.queued, q.err }

func (q *fakeQueue) Remove(_ context.Context, entry string) error {
	q.queued = q.queued[1:]
	return q.err
}

func (q *fakeQueue) SetAside(ctx context.Context, queued Queued, _ error) error {
	q.aside = append(q.aside, queued.Entry)
	return q.Remove(ctx, queued.Entry)
}

var (
	errGone        = errors.New("dial tcp: connection refused")
	errNoPartition = &pgconn.PgError{Code: "23514", Message: `no partition of relation "audit_events" found for row`}
	errNoTable     = &pgconn.PgError{Code: "42P01", Message: `relation "audit_events" does not exist`}
	errShutdown    = &pgconn.PgError{Code: "57P01", Message: "terminating connection"}
)

const event = `{"version": "1.0", "event_type": "t", "event_timestamp": "2026-11-21T10:00:00Z", "event_category": "gateway",
	"event_action": "a", "event_outcome": "success", "correlation_id": "c", "event_data": {}}`

func TestAnswersWhenStoresFail(t *testing.T) {
	for name, test := range map[string]struct {
		path, body      string
		store, fallback error
		want            int
	}{
		"stored":                          {"", event, nil, nil, http.StatusCreated},
		"PostgreSQL gone":                 {"", event, errGone, nil, http.StatusAccepted},
		"PostgreSQL timed out":            {"", event, context.DeadlineExceeded, nil, http.StatusAccepted},
		"PostgreSQL shutting down":        {"", event, errShutdown, nil, http.StatusAccepted},
		"both gone":                       {"", event, errGone, errGone, http.StatusInternalServerError},
		"queue full":                      {"", event, errGone, errQueueFull, http.StatusInternalServerError},
		"batch while PostgreSQL is gone":  {"/batch", "[" + event + "]", errGone, nil, http.StatusInternalServerError},
		"no partition is not gone":        {"", event, errNoPartition, nil, http.StatusUnprocessableEntity},
		"a missing table is not gone":     {"", event, errNoTable, nil, http.StatusInternalServerError},
		"a batch member is no object":     {"/batch", "[1]", nil, nil, http.StatusBadRequest},
		"null is no event":                {"", "null", nil, nil, http.StatusBadRequest},
		"text after the event":            {"", event + "x", nil, nil, http.StatusBadRequest},
		"an event where a batch is meant": {"/batch", event, nil, nil, http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			server := NewServer(&fakeStore{err: test.store}, &fakeQueue{err: test.fallback}, &Metrics{})
			w := request(server, http.MethodPost, "/api/v1/audit/events"+test.path, test.body)
			if w.Code != test.want {
				t.Errorf("%d, want %d: %s", w.Code, test.want, w.Body)
			}
			if w.Code >= 400 && w.Header().Get("Content-Type") != problem.ContentType {
				t.Errorf("an error as %s", w.Header().Get("Content-Type"))
			}
		})
	}
}

func TestReadinessEndsBeforeTheServerDoes(t *testing.T) {
	server := NewServer(&fakeStore{}, &fakeQueue{}, &Metrics{})
	server.StopAccepting()
	for path, want := range map[string]int{"/health/ready": 503, "/health/live": 200, "/health": 200} {
		if w := request(server, http.MethodGet, path, ""); w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
}

func request(server *Server, method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	server.Handler().ServeHTTP(w, r)
	return w
}

func TestDrain(t *testing.T) {
	for name, test := range map[string]struct {
		store                 error
		entry                 Queued
		left, aside, inserted int
	}{
		"stores and removes":               {nil, Queued{Entry: "1"}, 0, 0, 1},
		"keeps while PostgreSQL is gone":   {errGone, Queued{Entry: "1"}, 1, 0, 0},
		"keeps while there is no schema":   {errNoTable, Queued{Entry: "1"}, 1, 0, 0},
		"sets aside what is refused":       {errNoPartition, Queued{Entry: "1"}, 0, 1, 0},
		"sets aside what cannot be parsed": {nil, Queued{Entry: "1", Err: errors.New("no JSON")}, 0, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			store, queue := &fakeStore{err: test.store}, &fakeQueue{queued: []Queued{test.entry}}
			err := Drainer{Backlog: queue, Store: store, Metrics: &Metrics{}}.Drain(context.Background())
			if (err != nil) != (test.left > 0) {
				t.Errorf("error %v", err)
			}
			if len(queue.queued) != test.left || len(queue.aside) != test.aside || len(store.stored) != test.inserted {
				t.Errorf("left %v, aside %v, stored %v", queue.queued, queue.aside, store.stored)
			}
		})
	}
}
