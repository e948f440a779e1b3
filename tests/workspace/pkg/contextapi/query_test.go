package contextapi

import (
	"errors"
	"math"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/kubernaut/workspace/pkg/problem"
)

func TestEveryPartOfAQueryIsInItsKey(t *testing.T) {
	noon := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	keys := map[string]Query{}
	for _, q := range []Query{
		{}, {Cluster: "x"}, {Namespace: "x"}, {Kind: "x"}, {Name: "x"}, {ActionType: "x"}, {Status: "x"},
		{Since: noon}, {Until: noon}, {Limit: 10}, {Offset: 10}, {Namespace: "*"}, {Cluster: "x&kind=x"},
	} {
		if other, ok := keys[q.pageKey("")]; ok {
			t.Errorf("%+v and %+v have the key %s", q, other, q.pageKey(""))
		}
		keys[q.pageKey("")] = q
	}
}

func TestOneTimeInTwoZonesIsOneKey(t *testing.T) {
	noon := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	a, b := Query{Since: noon}, Query{Since: noon.In(time.FixedZone("", 3600)), Limit: defaultLimit}
	if a.pageKey("") != b.pageKey("") {
		t.Errorf("%s and %s", a.pageKey(""), b.pageKey(""))
	}
}

func TestAQueryIsToldAllThatIsWrong(t *testing.T) {
	noon := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	errs := Query{Name: "a\x00", Status: "done", Since: noon, Until: noon, Limit: 501, Offset: -1}.Validate()
	if got := fields(errs); !slices.Equal(got, []string{"name", "status", "until", "limit", "offset"}) {
		t.Error(got)
	}
}

func TestASearchNeedsADirection(t *testing.T) {
	valid, _ := Embed("pod is crash looping")
	notANumber := slices.Clone(valid)
	notANumber[0] = float32(math.NaN())
	for name, c := range map[string]struct {
		q    SimilarQuery
		want []string
	}{
		"valid":      {SimilarQuery{Embedding: valid}, nil},
		"short":      {SimilarQuery{Embedding: valid[1:]}, []string{"embedding"}},
		"zeros":      {SimilarQuery{Embedding: make([]float32, Dimensions)}, []string{"embedding"}},
		"no number":  {SimilarQuery{Embedding: notANumber}, []string{"embedding"}},
		"threshold":  {SimilarQuery{Embedding: valid, Threshold: 1.1}, []string{"threshold"}},
		"any number": {SimilarQuery{Embedding: valid, Threshold: math.NaN()}, []string{"threshold"}},
		"offset":     {SimilarQuery{Embedding: valid, Query: Query{Offset: 1}}, []string{"offset"}},
	} {
		if got := fields(c.q.Validate()); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestAnEmbeddingHasLengthOneAndDoesNotDependOnOrder(t *testing.T) {
	a, err := Embed("Pod payments-7d9f is OOMKilled")
	if err != nil || math.Abs(norm(a)-1) > 1e-6 || len(a) != Dimensions {
		t.Errorf("%v, length %v, %d dimensions", err, norm(a), len(a))
	}
	b, _ := Embed("oomkilled: is POD 7d9f payments")
	if !slices.Equal(a, b) {
		t.Error("the same words have another embedding")
	}
}

func TestATextWithoutWordsHasNoEmbedding(t *testing.T) {
	for _, text := range []string{"", "  ", "?!"} {
		if _, err := Embed(text); !errors.Is(err, ErrNoWords) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestParametersAreRefusedOnceEach(t *testing.T) {
	_, err := parseQuery(url.Values{"limit": {"0"}, "since": {"today"}, "nmespace": {"x"}, "kind": {"a", "b"}}, "limit", "offset")
	var p *problem.Problem
	if !errors.As(err, &p) {
		t.Fatal(err)
	}
	if got := fields(p.Errors); !slices.Equal(got, []string{"kind", "nmespace", "since", "limit"}) {
		t.Error(got)
	}
}

func fields(errs []problem.FieldError) []string {
	var names []string
	for _, err := range errs {
		names = append(names, err.Field)
	}
	return names
}
