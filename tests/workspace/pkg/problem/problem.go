// Package problem is the RFC 7807 error body that DataStorage answers with and
// its clients read.
package problem

import (
	"encoding/json"
	"fmt"
	"net/http"
)

const (
	ContentType = "application/problem+json"
	typeBase    = "https://kubernaut.ai/problems/"
)

// FieldError names one member of the request and what is wrong with it. In a
// batch the field starts with the event's index: "[3].event_type".
type FieldError struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// Problem is an error that knows its HTTP status.
type Problem struct {
	Type     string       `json:"type"`
	Title    string       `json:"title"`
	Status   int          `json:"status"`
	Detail   string       `json:"detail"`
	Instance string       `json:"instance"`
	Errors   []FieldError `json:"errors,omitempty"`
}

// New makes a problem; kind is the last part of its type URI and stays the same
// for all problems of one sort.
func New(status int, kind, title, detail string) *Problem {
	return &Problem{Type: typeBase + kind, Title: title, Status: status, Detail: detail}
}

// Invalid is a 400 that lists every field that is wrong.
func Invalid(errs []FieldError) *Problem {
	p := New(http.StatusBadRequest, "validation-error", "Validation failed", describe(errs))
	p.Errors = errs
	return p
}

func describe(errs []FieldError) string {
	if len(errs) == 1 {
		return errs[0].Field + ": " + errs[0].Message
	}
	return fmt.Sprintf("%d fields are not valid, first %s: %s", len(errs), errs[0].Field, errs[0].Message)
}

func (p *Problem) Error() string {
	return fmt.Sprintf("%d %s: %s", p.Status, p.Title, p.Detail)
}

// Write answers the request with p.
func (p *Problem) Write(w http.ResponseWriter, r *http.Request) {
	body := *p
	body.Instance = r.URL.Path
	w.Header().Set("Content-Type", ContentType)
	w.WriteHeader(p.Status)
	// The status is out: a client that is gone cannot be told.
	_ = json.NewEncoder(w).Encode(body)
}
