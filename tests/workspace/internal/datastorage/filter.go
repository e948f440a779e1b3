package datastorage

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kubernaut/workspace/pkg/audit"
	"github.com/kubernaut/workspace/pkg/problem"
)

const (
	defaultLimit = 100
	maxLimit     = 1000
)

// Filter is what a reader asks for; zero values match everything.
type Filter struct {
	CorrelationID string
	Type          string
	Category      string
	Outcome       string
	Since         time.Time // inclusive
	Until         time.Time // exclusive
	Limit         int
	Offset        int
}

var filterKeys = []string{"correlation_id", "event_type", "event_category", "event_outcome", "since", "until", "limit", "offset"}

func parseFilter(query url.Values) (Filter, []problem.FieldError) {
	p := filterParser{query: query}
	p.refuseUnknown()
	f := Filter{
		CorrelationID: query.Get("correlation_id"),
		Type:          query.Get("event_type"),
		Category:      p.oneOf("event_category", audit.Categories),
		Outcome:       p.oneOf("event_outcome", audit.Outcomes),
		Since:         p.time("since"),
		Until:         p.time("until"),
		Limit:         p.number("limit", defaultLimit, 1, maxLimit),
		Offset:        p.number("offset", 0, 0, 1<<31-1),
	}
	if !f.Since.IsZero() && !f.Until.IsZero() && !f.Since.Before(f.Until) {
		p.add("until", "must be later than since")
	}
	return f, p.errs
}

type filterParser struct {
	query url.Values
	errs  []problem.FieldError
}

func (p *filterParser) add(field, message string) {
	p.errs = append(p.errs, problem.FieldError{Field: field, Message: message})
}

func (p *filterParser) refuseUnknown() {
	for key, values := range p.query {
		switch {
		case !slices.Contains(filterKeys, key):
			p.add(key, "is not a filter; there are "+strings.Join(filterKeys, ", "))
		case len(values) > 1:
			p.add(key, "is given more than once")
		case strings.ContainsRune(values[0], 0):
			p.add(key, "must not contain a NUL character")
		}
	}
	slices.SortFunc(p.errs, func(a, b problem.FieldError) int { return strings.Compare(a.Field, b.Field) })
}

func (p *filterParser) oneOf(key string, allowed []string) string {
	value := p.query.Get(key)
	if value != "" && !slices.Contains(allowed, value) {
		p.add(key, "must be one of "+strings.Join(allowed, ", "))
	}
	return value
}

func (p *filterParser) time(key string) time.Time {
	value := p.query.Get(key)
	if value == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, value)
	if err != nil {
		p.add(key, "must be an RFC 3339 time, 2026-01-31T12:00:00Z for example")
	}
	return t
}

func (p *filterParser) number(key string, unset, least, most int) int {
	value := p.query.Get(key)
	if value == "" {
		return unset
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		p.add(key, fmt.Sprintf("must be a number from %d to %d", least, most))
	}
	return n
}

// where is the filter as SQL, with its arguments.
func (f Filter) where() (string, []any) {
	var conditions []string
	var args []any
	add := func(set bool, condition string, value any) {
		if set {
			args = append(args, value)
			conditions = append(conditions, fmt.Sprintf("%s $%d", condition, len(args)))
		}
	}
	add(f.CorrelationID != "", "correlation_id =", f.CorrelationID)
	add(f.Type != "", "event_type =", f.Type)
	add(f.Category != "", "event_category =", f.Category)
	add(f.Outcome != "", "event_outcome =", f.Outcome)
	add(!f.Since.IsZero(), "event_timestamp >=", f.Since)
	add(!f.Until.IsZero(), "event_timestamp <", f.Until)
	if len(conditions) == 0 {
		return "", nil
	}
	return " WHERE " + strings.Join(conditions, " AND "), args
}
