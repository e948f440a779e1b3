// Package integration sells seats through the stack that its environment names.
package integration

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
)

func TestASeatThatIsHeldCanBeBought(t *testing.T) {
	show := open(t, "A", 3)
	if code := show.buy(t, "A2", show.hold(t, "A2", 60), "ann"); code != http.StatusOK {
		t.Fatalf("buying what is held answers %d", code)
	}
	if sold := show.sold(t); len(sold) != 1 || sold["A2"] != "ann" {
		t.Fatalf("sold is %v", sold)
	}
	if code, _ := show.tryHold(t, "A2", 60); code != http.StatusConflict {
		t.Fatalf("holding what is sold answers %d", code)
	}
}

func TestOfFiftyWhoWantOneSeatOneHoldsIt(t *testing.T) {
	show := open(t, "A", 1)
	var won, lost atomic.Int32
	var all sync.WaitGroup
	for range 50 {
		all.Add(1)
		go func() {
			defer all.Done()
			switch code, _ := show.tryHold(t, "A1", 60); code {
			case http.StatusCreated:
				won.Add(1)
			case http.StatusConflict:
				lost.Add(1)
			}
		}()
	}
	all.Wait()
	if won.Load() != 1 || lost.Load() != 49 {
		t.Fatalf("%d hold the seat, %d were refused", won.Load(), lost.Load())
	}
}

func TestAHoldExpires(t *testing.T) {
	show := open(t, "A", 1)
	late := show.hold(t, "A1", 0.2)
	var next string
	eventually(t, "the seat is free again", func() (free bool) {
		code, token := show.tryHold(t, "A1", 60)
		next = token
		return code == http.StatusCreated
	})
	if code := show.buy(t, "A1", late, "late"); code != http.StatusGone {
		t.Fatalf("buying with an expired hold answers %d", code)
	}
	if code := show.release(t, "A1", late); code != http.StatusGone {
		t.Fatalf("releasing an expired hold answers %d", code)
	}
	if code := show.buy(t, "A1", next, "next"); code != http.StatusOK {
		t.Fatalf("the hold that came after answers %d", code)
	}
}

func TestAReleasedSeatIsFree(t *testing.T) {
	show := open(t, "A", 1)
	if code := show.release(t, "A1", show.hold(t, "A1", 60)); code != http.StatusOK {
		t.Fatalf("releasing answers %d", code)
	}
	show.hold(t, "A1", 60)
}

func TestWhatIsNotThere(t *testing.T) {
	show := open(t, "A", 1)
	if code, _ := show.tryHold(t, "Z9", 60); code != http.StatusNotFound {
		t.Errorf("a seat that is none answers %d", code)
	}
	if code := call(t, http.MethodGet, "/shows/none", nil, nil); code != http.StatusNotFound {
		t.Errorf("a show that is none answers %d", code)
	}
	if code := call(t, http.MethodPut, "/shows/"+string(show), map[string]any{"rows": map[string]int{"AA": 1}}, nil); code != http.StatusBadRequest {
		t.Errorf("a row that is none answers %d", code)
	}
}

func TestHoldsAreKeptByRedisAlone(t *testing.T) {
	show := open(t, "A", 1)
	show.hold(t, "A1", 60)
	conn, err := redis.Dial("tcp", required(t, "REDIS_ADDR"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	left, err := redis.Int(conn.Do("TTL", "hold:"+string(show)+":A1"))
	if err != nil || left <= 0 || left > 60 {
		t.Fatalf("the hold is kept for %d s, %v", left, err)
	}
}

func TestWithoutRedisNothingIsSold(t *testing.T) {
	show := open(t, "A", 1)
	away := true
	t.Cleanup(func() {
		if away {
			infra(t, "infra.start")
		}
	})
	infra(t, "infra.kill")
	if code, _ := show.tryHold(t, "A1", 60); code != http.StatusServiceUnavailable {
		t.Fatalf("without Redis a hold answers %d", code)
	}
	infra(t, "infra.start")
	away = false
	show = open(t, "A", 1)
	show.hold(t, "A1", 60)
}

type show string

// open puts one row of a new show on sale.
func open(t *testing.T, row string, count int) show {
	t.Helper()
	name := show(t.Name() + time.Now().Format("150405.000000"))
	if code := call(t, http.MethodPut, "/shows/"+string(name), map[string]any{"rows": map[string]int{row: count}}, nil); code != http.StatusCreated {
		t.Fatalf("opening a show answers %d", code)
	}
	return name
}

func (s show) tryHold(t *testing.T, seat string, seconds float64) (code int, token string) {
	t.Helper()
	var held struct{ Token string }
	code = call(t, http.MethodPost, s.seat(seat)+"/hold", map[string]float64{"seconds": seconds}, &held)
	return code, held.Token
}

func (s show) hold(t *testing.T, seat string, seconds float64) string {
	t.Helper()
	code, token := s.tryHold(t, seat, seconds)
	if code != http.StatusCreated {
		t.Fatalf("holding %s answers %d", seat, code)
	}
	return token
}

func (s show) buy(t *testing.T, seat, token, buyer string) int {
	t.Helper()
	return call(t, http.MethodPost, s.seat(seat)+"/purchase", map[string]string{"token": token, "buyer": buyer}, nil)
}

func (s show) release(t *testing.T, seat, token string) int {
	t.Helper()
	return call(t, http.MethodDelete, s.seat(seat)+"/hold", map[string]string{"token": token}, nil)
}

func (s show) sold(t *testing.T) map[string]string {
	t.Helper()
	var found struct{ Sold map[string]string }
	if code := call(t, http.MethodGet, "/shows/"+string(s), nil, &found); code != http.StatusOK {
		t.Fatalf("a show answers %d", code)
	}
	return found.Sold
}

func (s show) seat(seat string) string { return "/shows/" + string(s) + "/seats/" + seat }

// call is used by goroutines too: what goes wrong is an error, not the test's end.
func call(t *testing.T, method, path string, body, into any) int {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Error(err)
		return 0
	}
	request, err := http.NewRequestWithContext(t.Context(), method, required(t, "SEATS_URL")+path, bytes.NewReader(text))
	if err != nil {
		t.Error(err)
		return 0
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer response.Body.Close()
	if into != nil && response.StatusCode < 300 {
		if err := json.NewDecoder(response.Body).Decode(into); err != nil {
			t.Error(err)
		}
	}
	return response.StatusCode
}

func eventually(t *testing.T, what string, seen func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !seen(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not seen: %s", what)
		}
	}
}

// infra takes Redis away, and brings it back.
func infra(t *testing.T, word string) {
	t.Helper()
	if said, err := exec.Command(required(t, "INFRA_INVOKE"), word, "--component", "redis").CombinedOutput(); err != nil {
		t.Fatalf("%s: %s", err, said)
	}
}

func required(t *testing.T, name string) string {
	value := os.Getenv(name)
	if value == "" {
		t.Errorf("%s is not set", name)
	}
	return value
}
