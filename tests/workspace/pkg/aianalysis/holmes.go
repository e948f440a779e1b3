package aianalysis

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/kubernaut/workspace/pkg/problem"
)

const (
	incidentPath = "/api/v1/incident/analyze"
	recoveryPath = "/api/v1/recovery/analyze"
)

// Workflow is something that can be run.
type Workflow struct {
	ID         string            `json:"workflow_id"`
	Parameters map[string]string `json:"parameters"`
}

// Finding is HolmesGPT-API's answer. Workflow is nil when it has none to recommend.
type Finding struct {
	ID               string     `json:"analysis_id"`
	RootCause        string     `json:"root_cause"`
	Confidence       float64    `json:"confidence"`
	Workflow         *Workflow  `json:"recommended_workflow"`
	Alternatives     []Workflow `json:"alternative_workflows"`
	NeedsHumanReview bool       `json:"needs_human_review"`
	ReviewReason     string     `json:"human_review_reason"`
}

// Holmes is a client of HolmesGPT-API. It asks once; trying again is the
// caller's, who knows how urgent it is.
type Holmes struct {
	URL     string // without a path
	Timeout time.Duration
}

type recovery struct {
	Incident
	Attempts []Attempt `json:"attempts"`
}

// Investigate asks for the cause of an incident, or for what else there is to do
// when there were attempts already. A refusal is a *problem.Problem.
func (h Holmes) Investigate(ctx context.Context, incident Incident, attempts []Attempt) (Finding, error) {
	path, question := incidentPath, any(incident)
	if len(attempts) > 0 {
		path, question = recoveryPath, recovery{Incident: incident, Attempts: attempts}
	}
	body, err := json.Marshal(question)
	if err != nil {
		return Finding{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL+path, bytes.NewReader(body))
	if err != nil {
		return Finding{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return Finding{}, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return Finding{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return Finding{}, refusal(resp.StatusCode, answer)
	}
	var finding Finding
	if err := json.Unmarshal(answer, &finding); err != nil {
		return Finding{}, fmt.Errorf("HolmesGPT-API's answer: %w", err)
	}
	return finding, nil
}

func refusal(status int, body []byte) *problem.Problem {
	p := &problem.Problem{}
	if json.Unmarshal(body, p) != nil {
		p.Title, p.Detail = http.StatusText(status), string(body)
	}
	p.Status = status
	return p
}

// temporary tells a service in trouble, or one that cannot be reached, from a
// refusal or an answer that would be repeated.
func temporary(err error) bool {
	var refused *problem.Problem
	if errors.As(err, &refused) {
		switch refused.Status {
		case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return false
	}
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	return !errors.As(err, &syntax) && !errors.As(err, &kind)
}
