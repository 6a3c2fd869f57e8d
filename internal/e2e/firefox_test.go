package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// firefoxPrefs are of a profile that asks nothing, calls nobody, and takes loopback for a network.
const firefoxPrefs = `
user_pref("media.peerconnection.ice.loopback", true);
user_pref("media.peerconnection.ice.obfuscate_host_addresses", false);
user_pref("media.peerconnection.ice.proxy_only_if_behind_proxy", false);
user_pref("network.proxy.type", 0);
user_pref("app.update.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.startup.homepage_override.mstone", "ignore");
user_pref("browser.aboutwelcome.enabled", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("datareporting.healthreport.uploadEnabled", false);
user_pref("toolkit.telemetry.enabled", false);
user_pref("toolkit.telemetry.unified", false);
user_pref("extensions.systemAddon.update.enabled", false);
user_pref("extensions.update.enabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("services.settings.server", "data:,");
user_pref("browser.safebrowsing.downloads.remote.enabled", false);
user_pref("security.sandbox.warn_unprivileged_namespaces", false);
`

// firefox opens url in headless Firefox until the test ends. It trusts the root.
func firefox(t *testing.T, r *root, url string) fmt.Stringer {
	t.Helper()
	path := program(t, "firefox-esr")
	profile := t.TempDir()
	if err := os.WriteFile(filepath.Join(profile, "user.js"), []byte(firefoxPrefs), 0o600); err != nil {
		t.Fatal(err)
	}
	r.trustIn(t, profile)
	var log bytes.Buffer
	cmd := exec.Command(path, "--headless", "--no-remote", "--profile", profile, url)
	cmd.Env = append(os.Environ(), "HOME="+profile, "MOZ_CRASHREPORTER_DISABLE=1")
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its processes write to the profile until the last of them has ended
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); _ = cmd.Wait() })
	return &log
}

// Firefox verifies the name in a turns: URL, and accepts no address in its place, though it is in the certificate.
func TestFirefoxRelayOnly(t *testing.T) {
	relaysOnly(t, "Firefox", firefox, "localhost")
	version := strings.TrimPrefix(says("firefox-esr", "--version"), "Mozilla Firefox ")
	tried(t, "Firefox", version, "data channels by relays alone, with the RTC configuration as it is given, and with each TURN URL alone")
}
