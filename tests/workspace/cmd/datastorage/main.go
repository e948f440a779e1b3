// Command datastorage keeps the audit trail of Kubernaut's services.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/kubernaut/workspace/internal/config"
	"github.com/kubernaut/workspace/internal/datastorage"
)

const (
	// Kubernetes takes this long to stop sending requests to a pod that is not ready.
	readinessDelay = 5 * time.Second
	requestsDrain  = 5 * time.Second
	queueDrain     = 3 * time.Second
)

func main() {
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stdout, nil)))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx); err != nil {
		slog.Error("datastorage stopped", "error", oneLine(err))
		os.Exit(1)
	}
}

// oneLine, because pgx spreads one error over several.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

func run(ctx context.Context) error {
	fault, err := datastorage.FaultNamed(os.Getenv("DATASTORAGE_FAULT"))
	if err != nil {
		return err
	}
	cfg, err := config.Load(cmp.Or(os.Getenv("CONFIG_PATH"), config.DefaultPath))
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if err := logAs(cfg.Logging); err != nil {
		return err
	}
	postgres, err := datastorage.OpenPostgres(ctx, fault.Database(cfg.Database))
	if err != nil {
		return err
	}
	defer postgres.Close()
	queue, err := datastorage.OpenQueue(ctx, cfg.Redis)
	if err != nil {
		return err
	}
	defer queue.Close()
	return serve(ctx, cfg.Server, fault, fault.Store(postgres), queue)
}

func logAs(cfg config.Logging) error {
	level, err := cfg.SlogLevel()
	if err != nil {
		return err
	}
	options := &slog.HandlerOptions{Level: level}
	var handler slog.Handler = slog.NewJSONHandler(os.Stdout, options)
	if cfg.Format == "text" {
		handler = slog.NewTextHandler(os.Stdout, options)
	}
	slog.SetDefault(slog.New(handler))
	return nil
}

func serve(ctx context.Context, cfg config.Server, fault datastorage.Fault, store datastorage.Store, queue *datastorage.Queue) error {
	metrics := &datastorage.Metrics{}
	server := datastorage.NewServer(store, fault.Fallback(queue), metrics)
	api := &http.Server{Handler: fault.Handler(server.Handler()), ReadTimeout: cfg.ReadTimeout, WriteTimeout: cfg.WriteTimeout}
	scrape := &http.Server{Handler: metrics.Handler(), ReadTimeout: cfg.ReadTimeout, WriteTimeout: cfg.WriteTimeout}

	failed := make(chan error, 2)
	if err := listen(api, cfg.Host, cfg.Port, failed); err != nil {
		return err
	}
	defer api.Close()
	if err := listen(scrape, cfg.Host, cfg.MetricsPort, failed); err != nil {
		return err
	}
	defer scrape.Close()

	drainer := datastorage.Drainer{Backlog: fault.Backlog(queue), Store: store, Metrics: metrics}
	stopDraining := inBackground(drainer.Run)
	defer stopDraining()
	slog.Info("datastorage serves", "port", cfg.Port, "metrics_port", cfg.MetricsPort)

	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	slog.Info("shutting down: not ready any more", "delay", readinessDelay.String())
	server.StopAccepting()
	time.Sleep(readinessDelay)
	if err := within(requestsDrain, api.Shutdown); err != nil {
		return fmt.Errorf("requests in flight: %w", err)
	}
	stopDraining()
	if err := within(queueDrain, drainer.Drain); err != nil {
		slog.Warn("queue not drained; the next start replays it", "error", err)
	}
	slog.Info("datastorage stopped")
	return nil
}

// listen returns when the port is open; what goes wrong later is sent to failed.
func listen(server *http.Server, host string, port int, failed chan<- error) error {
	listener, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			failed <- err
		}
	}()
	return nil
}

// inBackground runs f until the returned function is called, which waits for its end.
func inBackground(f func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Add(1)
	go func() {
		defer running.Done()
		f(ctx)
	}()
	return func() {
		cancel()
		running.Wait()
	}
}

func within(limit time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return f(ctx)
}
