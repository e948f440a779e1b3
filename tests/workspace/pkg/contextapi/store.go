package contextapi

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Store is the history in PostgreSQL.
type Store struct {
	Pool  *pgxpool.Pool
	Fault Fault
}

const (
	columns = `t.id, t.action_id, t.action_type, t.action_timestamp, t.action_parameters, t.status::text,
		t.effectiveness_score::float8, r.cluster, r.namespace, r.kind, r.name`
	tables = ` FROM action_traces t
		JOIN action_histories h ON h.id = t.action_history_id
		JOIN resource_references r ON r.id = h.resource_id`
	// The newest first, and of those at the same time the one written last: pages must not overlap.
	newestFirst = ` ORDER BY t.action_timestamp DESC, t.id DESC`
)

func (s *Store) Ping(ctx context.Context) error { return s.Pool.Ping(ctx) }

// Actions reads a page, and counts all that it is a part of.
func (s *Store) Actions(ctx context.Context, q Query) (Page, error) {
	page := Page{Data: []Action{}, Pagination: Pagination{Limit: q.limit(), Offset: q.Offset}}
	where, args := q.where(nil)
	if err := s.Pool.QueryRow(ctx, `SELECT count(*)`+tables+where, args...).Scan(&page.Pagination.Total); err != nil {
		return Page{}, fmt.Errorf("count actions: %w", err)
	}
	limits := fmt.Sprintf(" LIMIT %d OFFSET %d", q.limit(), q.Offset)
	rows, err := s.Pool.Query(ctx, `SELECT `+columns+tables+where+newestFirst+limits, args...)
	if err != nil {
		return Page{}, fmt.Errorf("read actions: %w", err)
	}
	page.Data, err = pgx.AppendRows(page.Data, rows, func(row pgx.CollectableRow) (Action, error) { return scan(row) })
	if err != nil {
		return Page{}, fmt.Errorf("read actions: %w", err)
	}
	page.Pagination.HasMore = q.Offset+len(page.Data) < page.Pagination.Total
	return page, nil
}

// Action returns ErrNotFound for an id that nothing has, also one that is no UUID.
func (s *Store) Action(ctx context.Context, actionID string) (Action, error) {
	id, err := uuid.Parse(actionID)
	if err != nil {
		return Action{}, fmt.Errorf("%w: %q", ErrNotFound, actionID)
	}
	found, err := scan(s.Pool.QueryRow(ctx, `SELECT `+columns+tables+` WHERE t.action_id = $1`, id))
	if errors.Is(err, pgx.ErrNoRows) {
		return Action{}, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	return found, err
}

// Similar finds the nearest by cosine distance, of those that the filters match.
func (s *Store) Similar(ctx context.Context, q SimilarQuery) ([]Match, error) {
	where, args := q.where([]any{Vector(q.Embedding), Model})
	if s.Fault != IgnoreThreshold {
		// pgvector has 4 bytes a number: equal directions are equal but for the last of them.
		const rounding = 1e-6
		args = append(args, 1-q.Threshold+rounding)
		where += fmt.Sprintf(` AND e.embedding <=> $1::text::vector <= $%d`, len(args))
	}
	query := `SELECT ` + columns + `, 1 - (e.embedding <=> $1::text::vector)` + tables + `
		JOIN action_embeddings e ON e.action_trace_id = t.id AND e.model = $2` + where +
		fmt.Sprintf(` ORDER BY e.embedding <=> $1::text::vector, t.id LIMIT %d`, q.limit())
	matches := []Match{}
	err := pgx.BeginFunc(ctx, s.Pool, func(tx pgx.Tx) error {
		// Without it the index gives its 40 nearest to the filters, and that is all there is.
		if _, err := tx.Exec(ctx, `SET LOCAL hnsw.iterative_scan = strict_order`); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, query, args...)
		if err != nil {
			return err
		}
		matches, err = pgx.AppendRows(matches, rows, func(row pgx.CollectableRow) (m Match, err error) {
			m.Action, err = scan(row, &m.Similarity)
			return m, err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("search: %w", err)
	}
	return matches, nil
}

var groupColumns = map[string]string{
	"action_type": "t.action_type", "cluster": "r.cluster", "namespace": "r.namespace", "kind": "r.kind",
}

// SuccessRates groups what the filters match; what works best comes first, and
// groups of which nothing has ended come last.
func (s *Store) SuccessRates(ctx context.Context, q Query, by string) ([]Rate, error) {
	column, ok := groupColumns[by]
	if !ok {
		return nil, fmt.Errorf("there are no groups by %q", by)
	}
	where, args := q.where(nil)
	rows, err := s.Pool.Query(ctx, `SELECT key, total, completed, failed,
			completed::float8 / nullif(completed + failed, 0) AS rate, effectiveness FROM (
			SELECT `+column+` AS key, count(*) AS total,
				count(*) FILTER (WHERE t.status = 'completed') AS completed,
				count(*) FILTER (WHERE t.status IN ('failed', 'rolled_back')) AS failed,
				avg(t.effectiveness_score)::float8 AS effectiveness`+tables+where+`
			GROUP BY 1) AS groups
		ORDER BY rate DESC NULLS LAST, key`, args...)
	if err != nil {
		return nil, fmt.Errorf("success rates: %w", err)
	}
	return pgx.AppendRows([]Rate{}, rows, func(row pgx.CollectableRow) (r Rate, err error) {
		err = row.Scan(&r.Key, &r.Total, &r.Completed, &r.Failed, &r.SuccessRate, &r.Effectiveness)
		return r, err
	})
}

// Statistics of nothing are zeros.
func (s *Store) Statistics(ctx context.Context, q Query) (Statistics, error) {
	where, args := q.where(nil)
	sum := Statistics{ByStatus: map[string]int{}}
	counts := make([]int, len(Statuses))
	into := []any{&sum.Total, &sum.Resources, &sum.Effectiveness, &sum.First, &sum.Last}
	query := `SELECT count(*), count(DISTINCT r.id), avg(t.effectiveness_score)::float8, min(t.action_timestamp), max(t.action_timestamp)`
	for i, status := range Statuses {
		query += `, count(*) FILTER (WHERE t.status = '` + status + `')`
		into = append(into, &counts[i])
	}
	if err := s.Pool.QueryRow(ctx, query+tables+where, args...).Scan(into...); err != nil {
		return Statistics{}, fmt.Errorf("statistics: %w", err)
	}
	for i, status := range Statuses {
		sum.ByStatus[status] = counts[i]
	}
	return sum, nil
}

// scan reads columns, and what is selected after them.
func scan(row pgx.Row, more ...any) (a Action, err error) {
	var id uuid.UUID
	into := []any{&a.ID, &id, &a.Type, &a.Timestamp, &a.Parameters, &a.Status, &a.Effectiveness,
		&a.Resource.Cluster, &a.Resource.Namespace, &a.Resource.Kind, &a.Resource.Name}
	err = row.Scan(slices.Concat(into, more)...)
	a.ActionID, a.Timestamp = id.String(), a.Timestamp.UTC()
	return a, err
}
