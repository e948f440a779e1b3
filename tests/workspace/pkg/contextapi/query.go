package contextapi

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kubernaut/workspace/pkg/problem"
)

const (
	defaultLimit = 50
	maxLimit     = 500
	maxOffset    = math.MaxInt32
)

// Groups are what success rates can be asked by.
var Groups = []string{"action_type", "cluster", "namespace", "kind"}

// Query selects actions; zero values match everything.
type Query struct {
	Cluster    string    `json:"cluster"`
	Namespace  string    `json:"namespace"`
	Kind       string    `json:"kind"`
	Name       string    `json:"name"`
	ActionType string    `json:"action_type"`
	Status     string    `json:"status"`
	Since      time.Time `json:"since"` // inclusive
	Until      time.Time `json:"until"` // exclusive
	Limit      int       `json:"limit"` // 0: the default
	Offset     int       `json:"offset"`
}

// SimilarQuery looks for actions in circumstances like those of an embedding.
type SimilarQuery struct {
	Query
	Embedding []float32
	Threshold float64 // the least similarity
}

func (q Query) limit() int {
	if q.Limit == 0 {
		return defaultLimit
	}
	return q.Limit
}

// Validate returns all that is wrong.
func (q Query) Validate() []problem.FieldError {
	var errs []problem.FieldError
	add := func(wrong bool, field, message string) {
		if wrong {
			errs = append(errs, problem.FieldError{Field: field, Message: message})
		}
	}
	for _, text := range q.texts() {
		add(strings.ContainsRune(text[1], 0), text[0], "must not contain a NUL character")
	}
	add(q.Status != "" && !slices.Contains(Statuses, q.Status), "status", "must be one of "+strings.Join(Statuses, ", "))
	add(!q.Since.IsZero() && !q.Until.IsZero() && !q.Since.Before(q.Until), "until", "must be later than since")
	add(q.Limit < 0 || q.Limit > maxLimit, "limit", fmt.Sprintf("must be a number from 1 to %d", maxLimit))
	add(q.Offset < 0 || q.Offset > maxOffset, "offset", fmt.Sprintf("must be a number from 0 to %d", maxOffset))
	return errs
}

// Validate returns all that is wrong.
func (q SimilarQuery) Validate() []problem.FieldError {
	errs := q.Query.Validate()
	if len(q.Embedding) != Dimensions {
		errs = append(errs, problem.FieldError{Field: "embedding", Message: fmt.Sprintf("must have %d numbers, not %d", Dimensions, len(q.Embedding))})
	} else if length := norm(q.Embedding); !(length > 0) || math.IsInf(length, 0) {
		errs = append(errs, problem.FieldError{Field: "embedding", Message: "must have a direction: not all zeros, and finite"})
	}
	if !(q.Threshold >= -1 && q.Threshold <= 1) {
		errs = append(errs, problem.FieldError{Field: "threshold", Message: "must be a number from -1 to 1"})
	}
	if q.Offset != 0 {
		errs = append(errs, problem.FieldError{Field: "offset", Message: "is not for a search: ask for a higher limit"})
	}
	return errs
}

func (q Query) texts() [][2]string {
	return [][2]string{{"cluster", q.Cluster}, {"namespace", q.Namespace}, {"kind", q.Kind},
		{"name", q.Name}, {"action_type", q.ActionType}, {"status", q.Status}}
}

// filters are the query without its page, in one way of writing.
func (q Query) filters() url.Values {
	values := url.Values{}
	for _, text := range q.texts() {
		if text[1] != "" {
			values.Set(text[0], text[1])
		}
	}
	for key, t := range map[string]time.Time{"since": q.Since, "until": q.Until} {
		if !t.IsZero() {
			values.Set(key, t.UTC().Format(time.RFC3339Nano))
		}
	}
	return values
}

// The key of a cache entry starts with the namespace that it is about, so that
// this can be invalidated; an entry about all of them has a "*", which no
// escaped name has.
func key(namespace, kind string, values url.Values) string {
	scope := everywhere
	if namespace != "" {
		scope = url.QueryEscape(namespace)
	}
	return scope + ":" + kind + ":" + values.Encode()
}

const everywhere = "*"

func (q Query) pageKey(f Fault) string {
	values := q.filters()
	values.Set("limit", strconv.Itoa(q.limit()))
	if f != KeyWithoutOffset {
		values.Set("offset", strconv.Itoa(q.Offset))
	}
	return key(q.Namespace, "actions", values)
}

func (q SimilarQuery) key() string {
	values := q.filters()
	values.Set("limit", strconv.Itoa(q.limit()))
	values.Set("threshold", strconv.FormatFloat(q.Threshold, 'g', -1, 64))
	hash := sha256.New()
	// A hash does not fail.
	_ = binary.Write(hash, binary.LittleEndian, q.Embedding)
	values.Set("embedding", hex.EncodeToString(hash.Sum(nil)))
	return key(q.Namespace, "similar", values)
}

// where is the filters as SQL, with args appended.
func (q Query) where(args []any) (string, []any) {
	conditions := []string{"true"}
	add := func(set bool, condition string, value any) {
		if set {
			args = append(args, value)
			conditions = append(conditions, fmt.Sprintf("%s $%d", condition, len(args)))
		}
	}
	add(q.Cluster != "", "r.cluster =", q.Cluster)
	add(q.Namespace != "", "r.namespace =", q.Namespace)
	add(q.Kind != "", "r.kind =", q.Kind)
	add(q.Name != "", "r.name =", q.Name)
	add(q.ActionType != "", "t.action_type =", q.ActionType)
	add(q.Status != "", "t.status =", q.Status)
	add(!q.Since.IsZero(), "t.action_timestamp >=", q.Since)
	add(!q.Until.IsZero(), "t.action_timestamp <", q.Until)
	return " WHERE " + strings.Join(conditions, " AND "), args
}
