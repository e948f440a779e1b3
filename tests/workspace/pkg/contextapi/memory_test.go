package contextapi

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestTheEntryThatWasNotReadForLongestGoesFirst(t *testing.T) {
	cache := newLRU(2, time.Hour, time.Now)
	cache.put("a", []byte("1"))
	cache.put("b", []byte("2"))
	cache.get("a")
	cache.put("c", []byte("3"))
	if _, ok := cache.get("b"); ok || cache.len() != 2 {
		t.Errorf("b is there: %v, %d entries", ok, cache.len())
	}
	if _, ok := cache.get("a"); !ok {
		t.Error("a was read last and is gone")
	}
}

func TestAnEntryLivesForItsTimeAndNotLonger(t *testing.T) {
	now := time.Now()
	cache := newLRU(2, time.Minute, func() time.Time { return now })
	cache.put("a", []byte("1"))
	now = now.Add(time.Minute - 1)
	if _, ok := cache.get("a"); !ok {
		t.Error("gone before its time")
	}
	now = now.Add(1)
	if _, ok := cache.get("a"); ok || cache.len() != 0 {
		t.Errorf("there after its time: %v, %d entries", ok, cache.len())
	}
}

func TestAnEntryThatIsPutAgainIsOneEntry(t *testing.T) {
	cache := newLRU(2, time.Hour, time.Now)
	cache.put("a", []byte("1"))
	cache.put("a", []byte("2"))
	if body, _ := cache.get("a"); string(body) != "2" || cache.len() != 1 {
		t.Errorf("%q, %d entries", body, cache.len())
	}
}

func TestForgettingANamespaceLeavesTheOthers(t *testing.T) {
	cache := NewCache(CacheConfig{})
	for _, namespace := range []string{"pay", "payments", "pay:ments", ""} {
		cache.memory.put(Query{Namespace: namespace}.pageKey(""), nil)
	}
	cache.forget("pay")
	if cache.Len() != 2 {
		t.Errorf("%d entries are left", cache.Len())
	}
	cache.forget("")
	if cache.Len() != 0 {
		t.Errorf("%d entries are left of everything", cache.Len())
	}
}

func TestAReaderThatGoesDoesNotEndTheLoadOfTheOthers(t *testing.T) {
	var loads flights
	release, began := make(chan struct{}), make(chan struct{})
	load := func(ctx context.Context) ([]byte, Tier, error) {
		close(began)
		<-release
		return []byte("loaded"), FromDatabase, ctx.Err()
	}
	impatient, cancel := context.WithCancel(context.Background())
	first := make(chan error)
	go func() {
		_, _, err := loads.do(impatient, "key", func() {}, load)
		first <- err
	}()
	<-began
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Fatalf("the first: %v", err)
	}
	body, _, err := loads.do(context.Background(), "key", func() { close(release) }, load)
	if string(body) != "loaded" || err != nil {
		t.Errorf("the second: %q, %v", body, err)
	}
}

func TestAnErrorIsNotKept(t *testing.T) {
	var loads flights
	broken := errors.New("broken")
	for _, want := range []error{broken, nil} {
		_, _, err := loads.do(context.Background(), "key", func() {}, func(context.Context) ([]byte, Tier, error) { return nil, "", want })
		if !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
}

func TestAPatternOfRedisTakesNamesLiterally(t *testing.T) {
	if got := globEscape(`a*b?[c]\`); got != `a\*b\?\[c\]\\` {
		t.Error(got)
	}
	for _, scope := range scopes(`pay*[`) {
		if strings.Contains(strings.ReplaceAll(scope, `\*`, ""), "*") {
			t.Errorf("%s is a pattern", scope)
		}
	}
}
