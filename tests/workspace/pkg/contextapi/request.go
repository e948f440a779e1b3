package contextapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kubernaut/workspace/pkg/problem"
)

var filterKeys = []string{"cluster", "namespace", "kind", "name", "action_type", "status", "since", "until"}

const maxBodyBytes = 64 << 10

// parseQuery reads the filters, and the other keys that a path knows.
func parseQuery(values url.Values, others ...string) (Query, error) {
	p := queryParser{values: values}
	p.refuseUnknown(slices.Concat(filterKeys, others))
	q := Query{
		Cluster: values.Get("cluster"), Namespace: values.Get("namespace"), Kind: values.Get("kind"), Name: values.Get("name"),
		ActionType: values.Get("action_type"), Status: values.Get("status"),
		Since: p.time("since"), Until: p.time("until"),
		Limit:  p.number("limit", defaultLimit, 1, maxLimit),
		Offset: p.number("offset", 0, 0, maxOffset),
	}
	return q, invalid(append(p.errs, q.Validate()...))
}

type queryParser struct {
	values url.Values
	errs   []problem.FieldError
}

func (p *queryParser) add(field, message string) {
	p.errs = append(p.errs, problem.FieldError{Field: field, Message: message})
}

func (p *queryParser) refuseUnknown(known []string) {
	for key, values := range p.values {
		switch {
		case !slices.Contains(known, key):
			p.add(key, "is not known here; there are "+strings.Join(known, ", "))
		case len(values) > 1:
			p.add(key, "is given more than once")
		}
	}
	slices.SortFunc(p.errs, func(a, b problem.FieldError) int { return strings.Compare(a.Field, b.Field) })
}

func (p *queryParser) time(key string) time.Time {
	value := p.values.Get(key)
	if value == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, value)
	if err != nil {
		p.add(key, "must be an RFC 3339 time, 2026-01-31T12:00:00Z for example")
	}
	return t
}

// number returns unset for a number that it refuses, so that it is refused once.
func (p *queryParser) number(key string, unset, least, most int) int {
	value := p.values.Get(key)
	if value == "" {
		return unset
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		p.add(key, fmt.Sprintf("must be a number from %d to %d", least, most))
		return unset
	}
	return n
}

type search struct {
	Query
	Text      *string   `json:"text"`
	Embedding []float32 `json:"embedding"`
	Threshold float64   `json:"threshold"`
}

// readSearch reads the body of a search: filters, and either a text or an embedding.
func readSearch(w http.ResponseWriter, r *http.Request) (SimilarQuery, error) {
	var asked search
	if err := readJSON(w, r, &asked); err != nil {
		return SimilarQuery{}, err
	}
	if (asked.Text == nil) == (asked.Embedding == nil) {
		return SimilarQuery{}, invalid([]problem.FieldError{{Field: "text", Message: "either text or embedding has to be there, and not both"}})
	}
	q := SimilarQuery{Query: asked.Query, Embedding: asked.Embedding, Threshold: asked.Threshold}
	if asked.Text != nil {
		embedding, err := Embed(*asked.Text)
		if err != nil {
			return q, invalid([]problem.FieldError{{Field: "text", Message: "must have a word in it"}})
		}
		q.Embedding = embedding
	}
	return q, nil
}

func readJSON(w http.ResponseWriter, r *http.Request, into any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err == nil && decoder.More() {
		err = errors.New("there is more than one value")
	}
	tooLarge, wrongType := (*http.MaxBytesError)(nil), (*json.UnmarshalTypeError)(nil)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &tooLarge):
		return problem.New(http.StatusRequestEntityTooLarge, "body-too-large", "Body too large",
			fmt.Sprintf("the body must have at most %d bytes", tooLarge.Limit))
	case errors.As(err, &wrongType):
		return invalid([]problem.FieldError{{Field: wrongType.Field, Message: "must not be a " + wrongType.Value}})
	case errors.Is(err, io.EOF):
		err = errors.New("the body is empty")
	}
	return problem.New(http.StatusBadRequest, "malformed-json", "Malformed JSON", err.Error())
}
