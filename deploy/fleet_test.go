package deploy

import (
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/internal/admin"
)

// environ checks that variables are of the program, and returns the configuration that they make.
func environ(t *testing.T, where string, vars map[string]string) *config.Config {
	t.Helper()
	var all []string
	for name, value := range vars {
		all = append(all, name+"="+value)
	}
	cfg, err := config.Load("", config.WithEnviron(all))
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	if _, err := config.Load("", config.WithEnviron(append(all, "CROLANG_AIO_NO_SUCH_KEY=x"))); err == nil {
		t.Fatal("a variable that is none is accepted, so this test says nothing")
	}
	return cfg
}

// composed is what of a compose file counts here.
type composed struct {
	Services map[string]struct {
		Image       string            `yaml:"image"`
		Environment map[string]string `yaml:"environment"`
		Ports       []string          `yaml:"ports"`
		Volumes     []string          `yaml:"volumes"`
		Networks    []string          `yaml:"networks"`
		Command     []string          `yaml:"command"`
		Grace       string            `yaml:"stop_grace_period"`
		ReadOnly    bool              `yaml:"read_only"`
		Drop        []string          `yaml:"cap_drop"`
	} `yaml:"services"`
	Networks map[string]struct {
		Internal bool `yaml:"internal"`
	} `yaml:"networks"`
	Volumes map[string]any `yaml:"volumes"`
}

var variable = regexp.MustCompile(`\$\{(\w+)(?::([-?])([^}]*))?\}`)

// Three machines that differ in their names, ports and folders alone, and a Valkey that keeps what they say.
func TestComposeFleet(t *testing.T) {
	var c composed
	if err := yaml.Unmarshal([]byte(read(t, "compose-fleet.yml")), &c); err != nil {
		t.Fatal(err)
	}
	given := map[string]string{"CREDENTIALS_SECRET": strings.Repeat("s", 44), "VALKEY_PASSWORD": "hush"}
	fill := func(text string) string {
		return variable.ReplaceAllStringFunc(text, func(v string) string {
			m := variable.FindStringSubmatch(v)
			if m[2] == "-" {
				return m[3]
			}
			if given[m[1]] == "" {
				t.Errorf("%s has no default, and nobody gives it", v)
			}
			return given[m[1]]
		})
	}
	seen := map[string]string{} // what only one may have
	machines := 0
	for name, s := range c.Services {
		for _, p := range s.Ports {
			outside, inside, _ := strings.Cut(p, ":")
			key := outside + inside[max(0, len(inside)-4):]
			if other := seen[key]; other != "" {
				t.Errorf("%s and %s publish %s", name, other, p)
			}
			seen[key] = name
		}
		if name == "valkey" {
			if !slices.Contains(s.Command, "noeviction") || !slices.Equal(s.Networks, []string{"fleet"}) || len(s.Ports) != 0 || !c.Networks["fleet"].Internal {
				t.Errorf("%+v", s)
			}
			continue
		}
		machines++
		vars := map[string]string{}
		for k, v := range s.Environment {
			vars[k] = fill(v)
		}
		cfg := environ(t, name, vars)
		_, port, err := net.SplitHostPort(cfg.Turn.Listen[0])
		relays := s.Environment["CROLANG_AIO_TURN_RELAY_PORTS"]
		for _, want := range []string{port + ":" + port + "/udp", port + ":" + port + "/tcp", relays + ":" + relays + "/udp"} {
			if err != nil || !slices.Contains(s.Ports, want) {
				t.Errorf("%s does not publish %s", name, want)
			}
		}
		if cfg.Fleet.Name != name || !cfg.Fleet.RedisURL.IsSet() || !cfg.Credentials.Secret.IsSet() || s.Image != "crolang-aio" || !s.ReadOnly || len(s.Drop) != 1 {
			t.Errorf("%s: %+v", name, s)
		}
		if duration(t, s.Grace) < cfg.DrainTimeout+25*time.Second {
			t.Errorf("%s is killed while it drains: %s", name, s.Grace)
		}
		volume, at, _ := strings.Cut(s.Volumes[0], ":")
		if _, there := c.Volumes[volume]; !there || at != "/data" || seen[volume] != "" {
			t.Errorf("%s: volume %s at %s", name, volume, at)
		}
		seen[volume] = name
		for k, v := range s.Environment {
			if other := seen[k]; other != "" && other != v && !slices.Contains([]string{"CROLANG_AIO_FLEET_NAME", "CROLANG_AIO_TURN_LISTEN", "CROLANG_AIO_TURN_RELAY_PORTS"}, k) {
				t.Errorf("%s differs in %s", name, k)
			}
			seen[k] = v
		}
	}
	if machines != 3 {
		t.Errorf("%d machines", machines)
	}
}

// object is what of a Kubernetes object counts here. Other fields are looked at by name.
type object struct {
	APIVersion string            `yaml:"apiVersion"`
	Kind       string            `yaml:"kind"`
	Metadata   map[string]any    `yaml:"metadata"`
	Data       map[string]string `yaml:"stringData"`
	Spec       struct {
		Selector     map[string]any `yaml:"selector"`
		MinAvailable int            `yaml:"minAvailable"`
		Ports        []struct {
			Port       int    `yaml:"port"`
			TargetPort string `yaml:"targetPort"`
		} `yaml:"ports"`
		Template struct {
			Metadata struct {
				Labels map[string]string `yaml:"labels"`
			} `yaml:"metadata"`
			Spec pod `yaml:"spec"`
		} `yaml:"template"`
	} `yaml:"spec"`
}

type pod struct {
	HostNetwork bool                    `yaml:"hostNetwork"`
	DNSPolicy   string                  `yaml:"dnsPolicy"`
	Token       *bool                   `yaml:"automountServiceAccountToken"`
	Grace       int                     `yaml:"terminationGracePeriodSeconds"`
	Security    map[string]any          `yaml:"securityContext"`
	Containers  []container             `yaml:"containers"`
	Volumes     []struct{ Name string } `yaml:"volumes"`
}

type container struct {
	Image string   `yaml:"image"`
	Args  []string `yaml:"args"`
	Env   []struct {
		Name  string `yaml:"name"`
		Value string `yaml:"value"`
		From  struct {
			Secret struct {
				Name string `yaml:"name"`
				Key  string `yaml:"key"`
			} `yaml:"secretKeyRef"`
		} `yaml:"valueFrom"`
	} `yaml:"env"`
	Ports []struct {
		Name string `yaml:"name"`
		Port int    `yaml:"containerPort"`
	} `yaml:"ports"`
	Startup   probe `yaml:"startupProbe"`
	Liveness  probe `yaml:"livenessProbe"`
	Readiness probe `yaml:"readinessProbe"`
	Lifecycle struct {
		PreStop struct {
			Exec struct {
				Command []string `yaml:"command"`
			} `yaml:"exec"`
		} `yaml:"preStop"`
	} `yaml:"lifecycle"`
	Security struct {
		Escalation *bool `yaml:"allowPrivilegeEscalation"`
		ReadOnly   bool  `yaml:"readOnlyRootFilesystem"`
		Privileged bool  `yaml:"privileged"`
		Capability struct {
			Add  []string `yaml:"add"`
			Drop []string `yaml:"drop"`
		} `yaml:"capabilities"`
	} `yaml:"securityContext"`
	Mounts []struct {
		Name string `yaml:"name"`
		Path string `yaml:"mountPath"`
	} `yaml:"volumeMounts"`
}

type probe struct {
	HTTP struct {
		Path string `yaml:"path"`
		Port string `yaml:"port"`
	} `yaml:"httpGet"`
}

// kubernetes reads the set, by kind.
func kubernetes(t *testing.T) map[string]object {
	t.Helper()
	f, err := os.Open("kubernetes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[string]object{}
	for d := yaml.NewDecoder(f); ; {
		var o object
		err := d.Decode(&o)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all[o.Kind] = o
	}
}

func TestKubernetes(t *testing.T) {
	all := kubernetes(t)
	if got, want := slices.Sorted(maps.Keys(all)), []string{"DaemonSet", "PodDisruptionBudget", "Service"}; !slices.Equal(got, want) {
		t.Fatalf("%v", got)
	}
	for kind, version := range map[string]string{"DaemonSet": "apps/v1", "Service": "v1", "PodDisruptionBudget": "policy/v1"} {
		if all[kind].APIVersion != version {
			t.Errorf("%s of %s", kind, all[kind].APIVersion)
		}
	}
	set := all["DaemonSet"].Spec
	p, c := set.Template.Spec, set.Template.Spec.Containers[0]
	text := read(t, "kubernetes.yaml")
	vars := map[string]string{}
	for _, e := range c.Env {
		v := e.Value
		if s := e.From.Secret; s.Key != "" {
			if s.Name != "crolang-aio" || !strings.Contains(text, "--from-literal="+s.Key+"=") {
				t.Errorf("%s comes from a secret that nobody makes: %+v", e.Name, s)
			}
			v = map[string]string{"redis-url": "redis://:x@redis:6379/0"}[s.Key]
			if v == "" {
				v = strings.Repeat("s", 44)
			}
		} else if v == "" {
			v = "node-1" // fieldRef
		}
		vars[e.Name] = v
	}
	cfg := environ(t, "kubernetes.yaml", vars)
	if !cfg.Fleet.RedisURL.IsSet() || cfg.Fleet.Name != "node-1" || !cfg.Admin.Token.IsSet() || cfg.Admin.AllowNoToken {
		t.Errorf("%+v %+v", cfg.Fleet, cfg.Admin)
	}
	if p.Grace < int((cfg.DrainTimeout+25*time.Second)/time.Second) {
		t.Errorf("it is killed while it drains: %d s", p.Grace)
	}
	if !slices.Equal(c.Lifecycle.PreStop.Exec.Command, []string{"crolang-aio", "drain"}) || !slices.Equal(c.Args, []string{"serve"}) || c.Image != "crolang-aio" {
		t.Errorf("%+v", c)
	}
	if !p.HostNetwork || p.DNSPolicy != "ClusterFirstWithHostNet" || p.Token == nil || *p.Token || p.Security["runAsNonRoot"] != true || p.Security["runAsUser"] != 65532 {
		t.Errorf("%+v", p)
	}
	if s := c.Security; s.Privileged || !s.ReadOnly || s.Escalation == nil || *s.Escalation || len(s.Capability.Add) != 0 || !slices.Equal(s.Capability.Drop, []string{"ALL"}) {
		t.Errorf("%+v", s)
	}
	if len(c.Mounts) != 1 || len(p.Volumes) != 1 || c.Mounts[0].Name != p.Volumes[0].Name || !strings.HasPrefix(cfg.DataDir, c.Mounts[0].Path+"/") {
		t.Errorf("%s is not on the volume at %+v", cfg.DataDir, c.Mounts)
	}
	ports := map[string]int{}
	for _, port := range c.Ports {
		ports[port.Name] = port.Port
	}
	for name, listens := range map[string]string{
		"admin": cfg.Admin.Listen, "broker": cfg.Broker.Listen, "turn-udp": cfg.Turn.Listen[0], "turns-tcp": cfg.Turn.ListenTLS[0],
	} {
		if want := ":" + strconv.Itoa(ports[name]); !strings.HasSuffix(listens, want) {
			t.Errorf("port %s is %d, and it listens on %s", name, ports[name], listens)
		}
	}
	for path, of := range map[string]probe{"/healthz": c.Liveness, "/readyz": c.Readiness} {
		if of.HTTP.Path != path || of.HTTP.Port != "admin" || c.Startup.HTTP.Path != "/healthz" || c.Startup.HTTP.Port != "admin" {
			t.Errorf("%+v", of)
		}
		if admin.Exempt(httptest.NewRequest(http.MethodGet, path, nil)) == admin.Exempt(httptest.NewRequest(http.MethodGet, "/api/status", nil)) {
			t.Errorf("the kubelet is asked for a token at %s", path)
		}
	}
	labels := set.Template.Metadata.Labels
	service, budget := all["Service"].Spec, all["PodDisruptionBudget"].Spec
	of := labels["app.kubernetes.io/name"]
	matches := func(s map[string]any) any {
		m, _ := s["matchLabels"].(map[string]any)
		return m["app.kubernetes.io/name"]
	}
	if of == "" || service.Selector["app.kubernetes.io/name"] != of || matches(budget.Selector) != of || matches(set.Selector) != of {
		t.Error("selectors and labels do not go together")
	}
	if len(service.Ports) != 1 || service.Ports[0].Port != ports["admin"] || service.Ports[0].TargetPort != "admin" || budget.MinAvailable != 2 {
		t.Errorf("%+v %+v", service.Ports, budget)
	}
}
