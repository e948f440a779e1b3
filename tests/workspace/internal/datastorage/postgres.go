package datastorage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/kubernaut/workspace/internal/config"
	"github.com/kubernaut/workspace/pkg/audit"
)

const (
	connectTimeout = time.Second
	queryTimeout   = 2 * time.Second // a dead PostgreSQL is noticed within it
	pingTimeout    = time.Second
)

// Postgres is where events live.
type Postgres struct {
	pool *pgxpool.Pool
}

// OpenPostgres connects once, and does not try again.
func OpenPostgres(ctx context.Context, cfg config.Database) (*Postgres, error) {
	poolConfig, err := pgxpool.ParseConfig(fmt.Sprintf("host=%s port=%d dbname=%s sslmode=%s application_name=datastorage",
		quote(cfg.Host), cfg.Port, quote(cfg.Name), quote(cfg.SSLMode)))
	if err != nil {
		return nil, fmt.Errorf("database configuration: %w", err)
	}
	poolConfig.ConnConfig.User = cfg.User
	poolConfig.ConnConfig.Password = cfg.Password
	poolConfig.ConnConfig.ConnectTimeout = connectTimeout
	poolConfig.MaxConns = int32(cfg.MaxOpenConns)
	poolConfig.MinIdleConns = int32(cfg.MaxIdleConns)
	poolConfig.MaxConnLifetime = cfg.ConnMaxLifetime

	if err := pingOnce(ctx, poolConfig.ConnConfig); err != nil {
		return nil, fmt.Errorf("PostgreSQL at %s: %w", net.JoinHostPort(cfg.Host, strconv.Itoa(cfg.Port)), err)
	}
	pool, err := pgxpool.NewWithConfig(ctx, poolConfig)
	if err != nil {
		return nil, fmt.Errorf("connection pool: %w", err)
	}
	return &Postgres{pool: pool}, nil
}

// quote makes a value of a key=value connection string.
func quote(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}

// pingOnce goes around the pool, which would open several connections and open
// them again when they fail.
func pingOnce(ctx context.Context, cfg *pgx.ConnConfig) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, cfg.Copy())
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return conn.Ping(ctx)
}

func (p *Postgres) Close() { p.pool.Close() }

func (p *Postgres) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	return p.pool.Ping(ctx)
}

const insertEvent = `
INSERT INTO audit_events (event_id, version, event_type, event_timestamp, event_category,
                          event_action, event_outcome, correlation_id, event_data)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (event_id, event_timestamp) DO NOTHING`

// Insert stores all events or none. Events that are stored already change nothing.
func (p *Postgres) Insert(ctx context.Context, events ...audit.Event) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	batch := &pgx.Batch{}
	for _, e := range events {
		batch.Queue(insertEvent, e.ID, e.Version, e.Type, e.Timestamp, e.Category, e.Action, e.Outcome, e.CorrelationID, e.Data)
	}
	return pgx.BeginFunc(ctx, p.pool, func(tx pgx.Tx) error {
		return tx.SendBatch(ctx, batch).Close()
	})
}

// Query returns the page of events that the filter asks for, newest first, and
// how many events match it in all.
func (p *Postgres) Query(ctx context.Context, f Filter) (events []audit.Event, total int, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	where, args := f.where()
	if err := p.pool.QueryRow(ctx, "SELECT count(*) FROM audit_events"+where, args...).Scan(&total); err != nil {
		return nil, 0, err
	}
	page := fmt.Sprintf(`SELECT event_id::text, version, event_type, event_timestamp, event_category, event_action,
		event_outcome, correlation_id, event_data FROM audit_events%s
		ORDER BY event_timestamp DESC, event_id DESC LIMIT %d OFFSET %d`, where, f.Limit, f.Offset)
	rows, err := p.pool.Query(ctx, page, args...)
	if err != nil {
		return nil, 0, err
	}
	events, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (audit.Event, error) {
		var e audit.Event
		err := row.Scan(&e.ID, &e.Version, &e.Type, &e.Timestamp, &e.Category, &e.Action, &e.Outcome, &e.CorrelationID, &e.Data)
		e.Timestamp = e.Timestamp.UTC()
		return e, err
	})
	return events, total, err
}

// SQLSTATE: https://www.postgresql.org/docs/17/errcodes-appendix.html
const (
	classConnection    = "08"
	classData          = "22"
	classIntegrity     = "23"
	classResources     = "53"
	classIntervention  = "57"
	codeCheckViolation = "23514"
)

// unavailable tells a PostgreSQL that cannot be used now from one that answered
// and refused.
func unavailable(err error) bool {
	if connectErr := (*pgconn.ConnectError)(nil); errors.As(err, &connectErr) {
		return true
	}
	sqlErr := (*pgconn.PgError)(nil)
	if !errors.As(err, &sqlErr) {
		return !errors.Is(err, context.Canceled)
	}
	switch sqlErr.Code[:2] {
	case classConnection, classResources, classIntervention:
		return true
	}
	return false
}

// noPartition recognises a row for which there is no partition: a check
// violation, that of no constraint.
func noPartition(err error) bool {
	sqlErr := (*pgconn.PgError)(nil)
	return errors.As(err, &sqlErr) && sqlErr.Code == codeCheckViolation && sqlErr.ConstraintName == ""
}

// badData says that the values of the event are what PostgreSQL refused.
func badData(err error) bool {
	sqlErr := (*pgconn.PgError)(nil)
	return errors.As(err, &sqlErr) && (sqlErr.Code[:2] == classData || sqlErr.Code[:2] == classIntegrity)
}
