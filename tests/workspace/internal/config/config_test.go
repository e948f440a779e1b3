package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const valid = `
server:
  host: 0.0.0.0
  port: 8080
  metrics_port: 9090
  read_timeout: 30s
  write_timeout: 30s
logging:
  level: info
  format: json
database:
  host: postgres
  port: 5432
  name: action_history
  user: slm_user
  ssl_mode: disable
  max_open_conns: 25
  max_idle_conns: 5
  conn_max_lifetime: 5m
  secretsFile: db-secrets.yaml
  usernameKey: username
  passwordKey: password
redis:
  addr: redis:6379
  db: 0
  dlq_stream_name: audit-dlq
  dlq_max_len: 1000
  secretsFile: redis-secrets.yaml
  passwordKey: password
`

func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "config.yaml")
}

func files(change ...string) map[string]string {
	return map[string]string{
		"config.yaml":        strings.NewReplacer(change...).Replace(valid),
		"db-secrets.yaml":    "username: slm_user\npassword: hunter2\n",
		"redis-secrets.yaml": "password: \"\"\n",
	}
}

func TestLoadReadsConfigAndSecrets(t *testing.T) {
	cfg, err := Load(write(t, files()))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Database.User != "slm_user" || cfg.Database.Password != "hunter2" || cfg.Redis.Password != "" {
		t.Errorf("secrets: got %+v", cfg.Database)
	}
	if cfg.Server.ReadTimeout != 30*time.Second || cfg.Database.ConnMaxLifetime != 5*time.Minute {
		t.Errorf("durations: got %+v", cfg.Server)
	}
}

func TestErrorsNameFileAndKey(t *testing.T) {
	missing := files()
	delete(missing, "redis-secrets.yaml")
	noPassword := files()
	noPassword["db-secrets.yaml"] = "username: slm_user\n"
	emptyPassword := files()
	emptyPassword["db-secrets.yaml"] = "username: slm_user\npassword:\n"
	leaky := files()
	leaky["db-secrets.yaml"] = "hunter2\n"

	for name, test := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"unknown key":     {files("ssl_mode:", "sslmode:"), []string{"config.yaml", `unknown key "sslmode"`}},
		"required key":    {files("  addr: redis:6379\n", ""), []string{"config.yaml", "redis.addr is required"}},
		"not a port":      {files("metrics_port: 9090", "metrics_port: 90900"), []string{"server.metrics_port"}},
		"not a duration":  {files("read_timeout: 30s", "read_timeout: soon"), []string{"config.yaml", "line 6"}},
		"secrets missing": {missing, []string{"redis.secretsFile", "redis-secrets.yaml"}},
		"secret missing":  {noPassword, []string{"db-secrets.yaml", `"password"`, "database.passwordKey", "missing"}},
		"secret empty":    {emptyPassword, []string{"db-secrets.yaml", `"password"`, "empty"}},
		"secret no map":   {leaky, []string{"database.secretsFile", "db-secrets.yaml"}},
		"several at once": {files("level: info", "level: loud", "host: postgres", "host:"), []string{"logging.level", "database.host"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(write(t, test.files))
			if err == nil {
				t.Fatal("loaded")
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not contain %q", err, part)
				}
			}
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q has a secret or a second line", err)
			}
		})
	}
}
