package datastorage

import (
	"context"
	"log/slog"
	"time"
)

const (
	drainInterval = 500 * time.Millisecond
	drainCount    = 100
)

// Backlog is the queue as the drainer sees it.
type Backlog interface {
	Peek(ctx context.Context, count int64) ([]Queued, error)
	Remove(ctx context.Context, entry string) error
	SetAside(ctx context.Context, queued Queued, reason error) error
}

// Drainer moves queued events to PostgreSQL, oldest first. An event leaves the
// queue after it is stored; storing it twice is harmless.
type Drainer struct {
	Backlog Backlog
	Store   Store
	Metrics *Metrics
}

// Run drains now, and again and again until ctx ends.
func (d Drainer) Run(ctx context.Context) {
	ticker := time.NewTicker(drainInterval)
	defer ticker.Stop()
	for {
		if err := d.Drain(ctx); err != nil && ctx.Err() == nil {
			slog.Debug("queue not drained", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Drain empties the queue, or says what keeps it from that.
func (d Drainer) Drain(ctx context.Context) error {
	for {
		queued, err := d.Backlog.Peek(ctx, drainCount)
		if err != nil || len(queued) == 0 {
			return err
		}
		for _, q := range queued {
			if err := d.move(ctx, q); err != nil {
				return err
			}
		}
		slog.Info("queued events drained", "count", len(queued))
	}
}

func (d Drainer) move(ctx context.Context, q Queued) error {
	err := q.Err
	if err == nil {
		err = d.Store.Insert(ctx, q.Event)
	}
	switch {
	case err == nil:
		d.Metrics.Drained.Add(1)
		return d.Backlog.Remove(ctx, q.Entry)
	case q.Err != nil || badData(err):
		slog.Error("queued event rejected", "event_id", q.Event.ID, "error", err)
		d.Metrics.Rejected.Add(1)
		return d.Backlog.SetAside(ctx, q, err)
	default:
		return err
	}
}
