// Package deploy holds what runs beside the program; its tests hold the compose
// files, the image and the program together.
package deploy

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/hooks"
)

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// value is what follows "key: ", without a comment.
func value(t *testing.T, text, key string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^ +` + key + `: +([^#\n]*[^#\n ])`).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no %s", key)
	}
	return strings.Trim(m[1], `"`)
}

const (
	oneService = "../docker-compose.yml"
	withOthers = "compose-brokers.yml" // Brokers as containers of their own
)

func TestRelayPortsArePublished(t *testing.T) {
	for _, file := range []string{oneService, withOthers} {
		compose := read(t, file)
		ports := value(t, compose, "CROLANG_AIO_TURN_RELAY_PORTS")
		if want := `- "` + ports + ":" + ports + `/udp"`; !strings.Contains(compose, want) {
			t.Errorf("%s: relay ports are %s, but nothing says %s", file, ports, want)
		}
	}
}

// configuration loads what the variables of a compose file make.
func configuration(t *testing.T, file string) *config.Config {
	t.Helper()
	compose := read(t, file)
	n := 0
	for _, m := range regexp.MustCompile(`(?m)^ +(CROLANG_AIO_\w+): `).FindAllStringSubmatch(compose, -1) {
		v := value(t, compose, m[1])
		for strings.Contains(v, "${") { // the defaults, inner ones first
			v = regexp.MustCompile(`\$\{\w+:-([^${}]*)\}`).ReplaceAllString(v, "$1")
		}
		t.Setenv(m[1], v)
		n++
	}
	if n < 6 {
		t.Errorf("%s: %d variables were found", file, n)
	}
	cfg, err := config.Load("")
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	t.Setenv("CROLANG_AIO_NO_SUCH_KEY", "x")
	if _, err := config.Load(""); err == nil {
		t.Error("a variable that is none is accepted, so this test says nothing")
	}
	return cfg
}

// Every variable of a compose file is one, and together they are a
// configuration: of the Broker in the process, which says whom it lets in.
func TestOneService(t *testing.T) {
	compose := read(t, oneService)
	if cfg := configuration(t, oneService); !cfg.Broker.Enabled || !cfg.Broker.Open || cfg.Redis.Enabled || cfg.Broker.Listen != "0.0.0.0:8080" {
		t.Errorf("%+v", cfg.Broker)
	}
	if n := strings.Count(compose, "\n    image: "); n != 1 || !strings.Contains(compose, `- "8080:8080"`) {
		t.Errorf("%d services", n)
	}
}

func TestBrokersOfTheirOwn(t *testing.T) {
	if cfg := configuration(t, withOthers); cfg.Broker.Enabled || !cfg.Redis.Enabled {
		t.Errorf("%+v", cfg.Broker)
	}
}

func TestBrokersNeedNoMore(t *testing.T) {
	compose := read(t, withOthers)
	broker := compose[strings.Index(compose, "broker-1: &broker"):strings.Index(compose, "proxy:")]
	for name, path := range map[string]string{
		"NODES_AUTHENTICATION_WEBHOOK_URL":          hooks.PathAuthenticate,
		"RTC_CONFIGURATION_RESOLVER_WEBHOOK_URL":    hooks.PathResolve,
		"AUTHORIZE_NODES_COMMUNICATION_WEBHOOK_URL": hooks.PathAuthorize,
		"NODES_VALIDITY_CHECK_WEBHOOK_URL":          hooks.PathValidity,
		"ON_AUTHENTICATED_SOCKET_MSG_WEBHOOK_URL":   hooks.PathMessage,
	} {
		if got, want := value(t, broker, name), "http://crolang-aio:8083"+path; got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	password := value(t, compose, "CROLANG_AIO_REDIS_PASSWORD")
	if got, want := value(t, broker, "REDIS_URL"), "redis://default:"+password+"@crolang-aio:6379"; got != want {
		t.Errorf("REDIS_URL is %s, want %s", got, want)
	}
	if got := value(t, broker, "NODE_OPTIONS"); got != "--unhandled-rejections=warn" {
		t.Errorf("NODE_OPTIONS is %s", got)
	}
	if got := value(t, broker, "restart"); got != "unless-stopped" {
		t.Errorf("restart is %s", got)
	}
	for _, listen := range []string{"CROLANG_AIO_HOOKS_LISTEN", "CROLANG_AIO_REDIS_LISTEN"} {
		if got := value(t, compose, listen); !strings.HasPrefix(got, "0.0.0.0:") {
			t.Errorf("%s is %s: Brokers do not reach it", listen, got)
		}
	}
	if !regexp.MustCompile(`(?m)^  broker-2: \*broker$`).MatchString(compose) {
		t.Error("the second Broker is not like the first")
	}
}

func TestImage(t *testing.T) {
	dockerfile := read(t, "../Dockerfile")
	for _, want := range []string{
		"FROM scratch\n", "CGO_ENABLED=0 ", "USER 65532:65532\n", "--chown=65532:65532", `CMD ["crolang-aio", "health"]`,
		"-X github.com/crolang-p2p/crolang-aio/internal/version.version=$VERSION", "CROLANG_AIO_DATA_DIR=/data", "VOLUME /data\n",
	} {
		if !strings.Contains(dockerfile, want) {
			t.Errorf("the Dockerfile has no %q", want)
		}
	}
}
