// Package config reads DataStorage's config.yaml and the secrets it points to
// (ADR-030).
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// DefaultPath is used when CONFIG_PATH is not set.
const DefaultPath = "/etc/datastorage/config.yaml"

type Config struct {
	Server   Server   `yaml:"server"`
	Logging  Logging  `yaml:"logging"`
	Database Database `yaml:"database"`
	Redis    Redis    `yaml:"redis"`
}

type Server struct {
	Host         string        `yaml:"host"`
	Port         int           `yaml:"port"`
	MetricsPort  int           `yaml:"metrics_port"`
	ReadTimeout  time.Duration `yaml:"read_timeout"`
	WriteTimeout time.Duration `yaml:"write_timeout"`
}

type Logging struct {
	Level  string `yaml:"level"`
	Format string `yaml:"format"`
}

type Database struct {
	Host            string        `yaml:"host"`
	Port            int           `yaml:"port"`
	Name            string        `yaml:"name"`
	User            string        `yaml:"user"` // the secret's user name takes its place
	Password        string        `yaml:"-"`
	SSLMode         string        `yaml:"ssl_mode"`
	MaxOpenConns    int           `yaml:"max_open_conns"`
	MaxIdleConns    int           `yaml:"max_idle_conns"`
	ConnMaxLifetime time.Duration `yaml:"conn_max_lifetime"`
	SecretsFile     string        `yaml:"secretsFile"`
	UsernameKey     string        `yaml:"usernameKey"`
	PasswordKey     string        `yaml:"passwordKey"`
}

type Redis struct {
	Addr          string `yaml:"addr"`
	DB            int    `yaml:"db"`
	Password      string `yaml:"-"`
	DLQStreamName string `yaml:"dlq_stream_name"`
	DLQMaxLen     int64  `yaml:"dlq_max_len"`
	SecretsFile   string `yaml:"secretsFile"`
	PasswordKey   string `yaml:"passwordKey"`
}

func defaults() Config {
	return Config{
		Server:   Server{Host: "0.0.0.0", ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second},
		Logging:  Logging{Level: "info", Format: "json"},
		Database: Database{SSLMode: "disable", MaxOpenConns: 25, MaxIdleConns: 5, ConnMaxLifetime: 5 * time.Minute},
	}
}

// Load reads the file at path and the two secrets files that it names. Every
// error names the file and, where there is one, the key.
func Load(path string) (Config, error) {
	cfg := defaults()
	if err := decode(path, &cfg); err != nil {
		return Config{}, err
	}
	if err := cfg.check(); err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	if err := cfg.readSecrets(filepath.Dir(path)); err != nil {
		return Config{}, err
	}
	return cfg, nil
}

func (c *Config) readSecrets(dir string) error {
	db, err := openSecrets(dir, c.Database.SecretsFile, "database.secretsFile")
	if err != nil {
		return err
	}
	if c.Database.User, err = db.require(c.Database.UsernameKey, "database.usernameKey"); err != nil {
		return err
	}
	if c.Database.Password, err = db.require(c.Database.PasswordKey, "database.passwordKey"); err != nil {
		return err
	}
	redis, err := openSecrets(dir, c.Redis.SecretsFile, "redis.secretsFile")
	if err != nil {
		return err
	}
	// A Redis without a password has the key with an empty value.
	c.Redis.Password, err = redis.get(c.Redis.PasswordKey, "redis.passwordKey")
	return err
}

type secrets struct {
	path   string
	values map[string]string
}

func openSecrets(dir, file, key string) (secrets, error) {
	if !filepath.IsAbs(file) {
		file = filepath.Join(dir, file)
	}
	s := secrets{path: file}
	if err := decode(file, &s.values); err != nil {
		return s, fmt.Errorf("%s: %w", key, err)
	}
	return s, nil
}

func (s secrets) get(name, key string) (string, error) {
	value, ok := s.values[name]
	if !ok {
		return "", fmt.Errorf("%s: key %q (%s) is missing", s.path, name, key)
	}
	return value, nil
}

func (s secrets) require(name, key string) (string, error) {
	value, err := s.get(name, key)
	if err == nil && value == "" {
		return "", fmt.Errorf("%s: key %q (%s) is empty", s.path, name, key)
	}
	return value, err
}

func decode(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %s", path, plain(err))
	}
	return nil
}

var (
	unknownField = regexp.MustCompile(`field (\S+) not found in type \S+`)
	yamlValue    = regexp.MustCompile("`[^`]*`")
)

// plain puts yaml's errors into the file's words instead of Go's. It leaves out
// the values that they quote: one may be a secret.
func plain(err error) string {
	text := err.Error()
	if typeErr := (*yaml.TypeError)(nil); errors.As(err, &typeErr) {
		text = strings.Join(typeErr.Errors, "; ")
	}
	return yamlValue.ReplaceAllString(unknownField.ReplaceAllString(text, `unknown key "$1"`), "the value")
}

// check reports every missing or impossible value at once.
func (c *Config) check() error {
	var errs []error
	complain := func(wrong bool, key, message string) {
		if wrong {
			errs = append(errs, fmt.Errorf("%s %s", key, message))
		}
	}
	port := func(n int, key string) {
		complain(n < 1 || n > 65535, key, fmt.Sprintf("must be a port from 1 to 65535, not %d", n))
	}
	required := func(value, key string) { complain(value == "", key, "is required") }
	positive := func(value int64, key string) { complain(value <= 0, key, "must be more than 0") }

	port(c.Server.Port, "server.port")
	port(c.Server.MetricsPort, "server.metrics_port")
	complain(c.Server.Port == c.Server.MetricsPort, "server.metrics_port", "must differ from server.port")
	positive(int64(c.Server.ReadTimeout), "server.read_timeout")
	positive(int64(c.Server.WriteTimeout), "server.write_timeout")

	_, err := c.Logging.SlogLevel()
	complain(err != nil, "logging.level", "must be debug, info, warn or error")
	complain(!slices.Contains([]string{"json", "text"}, c.Logging.Format), "logging.format", "must be json or text")

	required(c.Database.Host, "database.host")
	port(c.Database.Port, "database.port")
	required(c.Database.Name, "database.name")
	complain(c.Database.MaxOpenConns < 1, "database.max_open_conns", "must be more than 0")
	complain(c.Database.MaxIdleConns < 0 || c.Database.MaxIdleConns > c.Database.MaxOpenConns,
		"database.max_idle_conns", "must be from 0 to max_open_conns")
	positive(int64(c.Database.ConnMaxLifetime), "database.conn_max_lifetime")
	required(c.Database.SecretsFile, "database.secretsFile")
	required(c.Database.UsernameKey, "database.usernameKey")
	required(c.Database.PasswordKey, "database.passwordKey")

	required(c.Redis.Addr, "redis.addr")
	complain(c.Redis.DB < 0, "redis.db", "must not be negative")
	required(c.Redis.DLQStreamName, "redis.dlq_stream_name")
	positive(c.Redis.DLQMaxLen, "redis.dlq_max_len")
	required(c.Redis.SecretsFile, "redis.secretsFile")
	required(c.Redis.PasswordKey, "redis.passwordKey")
	return joined(errs)
}

// joined is errors.Join on one line.
func joined(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	texts := make([]string, len(errs))
	for i, err := range errs {
		texts[i] = err.Error()
	}
	return errors.New(strings.Join(texts, "; "))
}

// SlogLevel is the level in log/slog's terms.
func (l Logging) SlogLevel() (slog.Level, error) {
	var level slog.Level
	err := level.UnmarshalText([]byte(l.Level))
	return level, err
}
