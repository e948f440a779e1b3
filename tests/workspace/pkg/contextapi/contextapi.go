// Package contextapi gives an AI analysis the history that its question has:
// what was done before to a resource, how often that worked, and what was done
// where things looked alike. It reads PostgreSQL through two caches, one in its
// own memory and one in Redis, and works without the latter.
package contextapi

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/kubernaut/workspace/pkg/fault"
)

// Statuses of an action, as the database's type has them.
var Statuses = []string{"pending", "executing", "completed", "failed", "rolled_back"}

// ErrNotFound is for an action that there is not.
var ErrNotFound = errors.New("no such action")

// Resource is what an action was done to.
type Resource struct {
	Cluster   string `json:"cluster"`
	Namespace string `json:"namespace"`
	Kind      string `json:"kind"`
	Name      string `json:"name"`
}

// Action is one that was tried.
type Action struct {
	ID            int64           `json:"id"`
	ActionID      string          `json:"action_id"`
	Type          string          `json:"action_type"`
	Timestamp     time.Time       `json:"action_timestamp"`
	Parameters    json.RawMessage `json:"action_parameters"`
	Status        string          `json:"status"`
	Effectiveness *float64        `json:"effectiveness_score"` // nil: nobody has judged it
	Resource      Resource        `json:"resource"`
}

// Page is a part of what a query matches, newest first.
type Page struct {
	Data       []Action   `json:"data"`
	Pagination Pagination `json:"pagination"`
}

type Pagination struct {
	Limit   int  `json:"limit"`
	Offset  int  `json:"offset"`
	Total   int  `json:"total"`
	HasMore bool `json:"has_more"`
}

// Match is an action and how much its circumstances are like those asked for:
// the cosine, from -1 to 1.
type Match struct {
	Action
	Similarity float64 `json:"similarity"`
}

// Rate says how often the actions of a group worked.
type Rate struct {
	Key           string   `json:"key"`
	Total         int      `json:"total"`
	Completed     int      `json:"completed"`
	Failed        int      `json:"failed"`       // failed and rolled back
	SuccessRate   *float64 `json:"success_rate"` // of those that have ended; nil: none has
	Effectiveness *float64 `json:"average_effectiveness"`
}

// Statistics sum up what a query matches.
type Statistics struct {
	Total         int            `json:"total"`
	Resources     int            `json:"resources"`
	ByStatus      map[string]int `json:"by_status"` // has every status
	Effectiveness *float64       `json:"average_effectiveness"`
	First         *time.Time     `json:"first_action_at"`
	Last          *time.Time     `json:"last_action_at"`
}

// Source is where the history is: a Store, or what a test puts before it.
type Source interface {
	Ping(ctx context.Context) error
	Actions(ctx context.Context, q Query) (Page, error)
	Action(ctx context.Context, actionID string) (Action, error)
	Similar(ctx context.Context, q SimilarQuery) ([]Match, error)
	SuccessRates(ctx context.Context, q Query, by string) ([]Rate, error)
	Statistics(ctx context.Context, q Query) (Statistics, error)
}

// Fault breaks one behaviour on purpose, so that a suite can be seen to fail.
type Fault string

const (
	KeyWithoutOffset Fault = "key-without-offset" // all pages of a query share one cache entry
	Stampede         Fault = "stampede"           // readers of one entry all query the database
	IgnoreThreshold  Fault = "ignore-threshold"   // what is hardly alike is found too
	NeedRedis        Fault = "need-redis"         // an error of Redis is an error of the reader
)

// FaultNamed reads CONTEXTAPI_FAULT.
func FaultNamed() (Fault, error) {
	name, err := fault.Named("CONTEXTAPI_FAULT",
		string(KeyWithoutOffset), string(Stampede), string(IgnoreThreshold), string(NeedRedis))
	return Fault(name), err
}
