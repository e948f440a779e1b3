package datastorage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/kubernaut/workspace/pkg/audit"
	"github.com/kubernaut/workspace/pkg/problem"
)

const (
	maxEventBytes  = 1 << 20
	maxBatchBytes  = 8 << 20
	maxBatchEvents = 1000
)

type created struct {
	EventID   string    `json:"event_id"`
	Timestamp time.Time `json:"event_timestamp"`
	Status    string    `json:"status"` // stored or queued
}

type createdBatch struct {
	EventIDs []string `json:"event_ids"`
	Written  int      `json:"written"`
}

type page struct {
	Data       []audit.Event `json:"data"`
	Pagination pagination    `json:"pagination"`
}

type pagination struct {
	Limit   int  `json:"limit"`
	Offset  int  `json:"offset"`
	Total   int  `json:"total"`
	HasMore bool `json:"has_more"`
}

func (s *Server) create(w http.ResponseWriter, r *http.Request) {
	e, refusal := readEvent(w, r)
	if refusal != nil {
		s.refuse(w, r, 1, refusal)
		return
	}
	// A client that hangs up must not leave the event half way to the queue.
	ctx := context.WithoutCancel(r.Context())
	err := s.store.Insert(ctx, e)
	switch {
	case err == nil:
		s.metrics.Written.Add(1)
		answer(w, http.StatusCreated, created{EventID: e.ID, Timestamp: e.Timestamp, Status: "stored"})
	case unavailable(err):
		s.queue(ctx, w, r, e, err)
	default:
		s.refuse(w, r, 1, storeProblem(err))
	}
}

func (s *Server) queue(ctx context.Context, w http.ResponseWriter, r *http.Request, e audit.Event, cause error) {
	if err := s.fallback.Add(ctx, e); err != nil {
		slog.Error("event neither stored nor queued", "event_id", e.ID, "error", cause, "queue_error", err)
		problem.New(http.StatusInternalServerError, "storage-unavailable", "Storage unavailable",
			"PostgreSQL is not available and the event could not be queued").Write(w, r)
		return
	}
	slog.Warn("event queued", "event_id", e.ID, "error", cause)
	s.metrics.Queued.Add(1)
	answer(w, http.StatusAccepted, created{EventID: e.ID, Timestamp: e.Timestamp, Status: "queued"})
}

func (s *Server) createBatch(w http.ResponseWriter, r *http.Request) {
	events, refusal := readBatch(w, r)
	if refusal != nil {
		s.refuse(w, r, max(1, len(events)), refusal)
		return
	}
	err := s.store.Insert(context.WithoutCancel(r.Context()), events...)
	switch {
	case err == nil:
		s.metrics.Written.Add(int64(len(events)))
		answer(w, http.StatusCreated, createdBatch{EventIDs: ids(events), Written: len(events)})
	case unavailable(err):
		slog.Error("batch not stored", "count", len(events), "error", err)
		problem.New(http.StatusInternalServerError, "storage-unavailable", "Storage unavailable",
			"PostgreSQL is not available; none of the batch was written").Write(w, r)
	default:
		s.refuse(w, r, len(events), storeProblem(err))
	}
}

func ids(events []audit.Event) []string {
	ids := make([]string, len(events))
	for i, e := range events {
		ids[i] = e.ID
	}
	return ids
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	filter, errs := parseFilter(r.URL.Query())
	if len(errs) > 0 {
		problem.Invalid(errs).Write(w, r)
		return
	}
	events, total, err := s.store.Query(r.Context(), filter)
	switch {
	case err == nil:
		answer(w, http.StatusOK, page{Data: events, Pagination: pagination{
			Limit: filter.Limit, Offset: filter.Offset, Total: total, HasMore: filter.Offset+len(events) < total,
		}})
	case errors.Is(err, context.Canceled):
	case unavailable(err):
		slog.Error("events not read", "error", err)
		problem.New(http.StatusInternalServerError, "storage-unavailable", "Storage unavailable", "PostgreSQL is not available").Write(w, r)
	default:
		storeProblem(err).Write(w, r)
	}
}

func (s *Server) refuse(w http.ResponseWriter, r *http.Request, events int, p *problem.Problem) {
	s.metrics.Rejected.Add(int64(events))
	slog.Info("refused", "path", r.URL.Path, "status", p.Status, "detail", p.Detail)
	p.Write(w, r)
}

// storeProblem is the answer to events that PostgreSQL was there to refuse.
func storeProblem(err error) *problem.Problem {
	switch {
	case noPartition(err):
		return problem.New(http.StatusUnprocessableEntity, "no-partition", "No partition",
			fmt.Sprintf("audit_events has no partition for the month of event_timestamp: %s", err))
	case badData(err):
		return problem.New(http.StatusUnprocessableEntity, "not-storable", "Not storable", err.Error())
	default:
		slog.Error("PostgreSQL refused", "error", err)
		return problem.New(http.StatusInternalServerError, "database-error", "Database error", err.Error())
	}
}
