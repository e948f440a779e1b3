package booking

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"example.org/seats/row"
)

// Handler serves the store.
//
//	PUT    /shows/{show}              {"rows": {"A": 10}}
//	GET    /shows/{show}              {"sold": {"A1": "ann"}}
//	POST   /shows/{show}/seats/{seat}/hold      {"seconds": 60} -> {"token": "..."}
//	POST   /shows/{show}/seats/{seat}/purchase  {"token": "...", "buyer": "ann"}
//	DELETE /shows/{show}/seats/{seat}/hold      {"token": "..."}
func Handler(store *Store) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusOK, map[string]string{"status": "ok"}, store.Ping(r.Context()))
	})
	mux.HandleFunc("PUT /shows/{show}", func(w http.ResponseWriter, r *http.Request) {
		var given struct{ Rows map[string]int }
		if !read(w, r, &given) {
			return
		}
		var seats []string
		for name, count := range given.Rows {
			more, err := row.Seats(name, count)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			seats = append(seats, more...)
		}
		answer(w, http.StatusCreated, map[string]int{"seats": len(seats)}, store.Open(r.Context(), r.PathValue("show"), seats))
	})
	mux.HandleFunc("GET /shows/{show}", func(w http.ResponseWriter, r *http.Request) {
		sold, err := store.Sold(r.Context(), r.PathValue("show"))
		answer(w, http.StatusOK, map[string]any{"sold": sold}, err)
	})
	mux.HandleFunc("POST /shows/{show}/seats/{seat}/hold", func(w http.ResponseWriter, r *http.Request) {
		var given struct{ Seconds float64 }
		if !read(w, r, &given) {
			return
		}
		keep := time.Duration(given.Seconds * float64(time.Second))
		token, err := store.Hold(r.Context(), r.PathValue("show"), r.PathValue("seat"), keep)
		answer(w, http.StatusCreated, map[string]string{"token": token}, err)
	})
	mux.HandleFunc("POST /shows/{show}/seats/{seat}/purchase", func(w http.ResponseWriter, r *http.Request) {
		var given struct{ Token, Buyer string }
		if read(w, r, &given) {
			err := store.Buy(r.Context(), r.PathValue("show"), r.PathValue("seat"), given.Token, given.Buyer)
			answer(w, http.StatusOK, map[string]string{"buyer": given.Buyer}, err)
		}
	})
	mux.HandleFunc("DELETE /shows/{show}/seats/{seat}/hold", func(w http.ResponseWriter, r *http.Request) {
		var given struct{ Token string }
		if read(w, r, &given) {
			err := store.Release(r.Context(), r.PathValue("show"), r.PathValue("seat"), given.Token)
			answer(w, http.StatusOK, map[string]string{"status": "released"}, err)
		}
	})
	return mux
}

func read(w http.ResponseWriter, r *http.Request, into any) bool {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(into)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
	return err == nil
}

func answer(w http.ResponseWriter, code int, body any, err error) {
	switch {
	case errors.Is(err, ErrUnknown):
		http.Error(w, err.Error(), http.StatusNotFound)
	case errors.Is(err, ErrTaken):
		http.Error(w, err.Error(), http.StatusConflict)
	case errors.Is(err, ErrGone):
		http.Error(w, err.Error(), http.StatusGone)
	case err != nil:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	default:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(body)
	}
}
