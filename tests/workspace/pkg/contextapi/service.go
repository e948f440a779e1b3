package contextapi

import (
	"context"
	"slices"
	"strings"

	"github.com/kubernaut/workspace/pkg/problem"
)

// Service answers from the nearest tier, and says from which.
type Service struct {
	Source Source
	Cache  *Cache
}

// invalid is the query's own fault, as an error.
func invalid(errs []problem.FieldError) error {
	if len(errs) == 0 {
		return nil
	}
	return problem.Invalid(errs)
}

func (s *Service) Actions(ctx context.Context, q Query) (Page, Tier, error) {
	if err := invalid(q.Validate()); err != nil {
		return Page{}, "", err
	}
	return through(ctx, s.Cache, q.pageKey(s.Cache.cfg.Fault), func(ctx context.Context) (Page, error) {
		return s.Source.Actions(ctx, q)
	})
}

// Action is not cached: its status changes, and one row is quickly read.
func (s *Service) Action(ctx context.Context, actionID string) (Action, error) {
	return s.Source.Action(ctx, actionID)
}

func (s *Service) Similar(ctx context.Context, q SimilarQuery) ([]Match, Tier, error) {
	if err := invalid(q.Validate()); err != nil {
		return nil, "", err
	}
	return through(ctx, s.Cache, q.key(), func(ctx context.Context) ([]Match, error) {
		return s.Source.Similar(ctx, q)
	})
}

func validateGroup(by string) []problem.FieldError {
	if slices.Contains(Groups, by) {
		return nil
	}
	return []problem.FieldError{{Field: "group_by", Message: "must be one of " + strings.Join(Groups, ", ")}}
}

// SuccessRates groups by one of Groups.
func (s *Service) SuccessRates(ctx context.Context, q Query, by string) ([]Rate, Tier, error) {
	if err := invalid(append(q.Validate(), validateGroup(by)...)); err != nil {
		return nil, "", err
	}
	values := q.filters()
	values.Set("group_by", by)
	return through(ctx, s.Cache, key(q.Namespace, "success-rates", values), func(ctx context.Context) ([]Rate, error) {
		return s.Source.SuccessRates(ctx, q, by)
	})
}

func (s *Service) Statistics(ctx context.Context, q Query) (Statistics, Tier, error) {
	if err := invalid(q.Validate()); err != nil {
		return Statistics{}, "", err
	}
	return through(ctx, s.Cache, key(q.Namespace, "statistics", q.filters()), func(ctx context.Context) (Statistics, error) {
		return s.Source.Statistics(ctx, q)
	})
}
