# clinvk from this source tree: nix-build tests/packaging/nix
{ pkgs ? import <nixpkgs> { } }:

pkgs.rustPlatform.buildRustPackage {
  pname = "clinvk";
  version = "0.3.0";
  src = ../../..;
  cargoLock.lockFile = ../../../Cargo.lock;

  # The Makefile knows where everything belongs; the binary is where cargo's own hook has built it.
  installPhase = ''
    runHook preInstall
    make install BINARY="$(find target -path '*/release/clinvk' -type f | head -n 1)" \
      PREFIX="$out" systemdunitdir="$out/lib/systemd/system"
    runHook postInstall
  '';

  # Tests look at processes of other sessions, which the sandbox does not show.
  doCheck = false;

  meta = with pkgs.lib; {
    description = "One interface to AI command-line tools";
    license = licenses.mit;
    mainProgram = "clinvk";
    platforms = platforms.unix;
  };
}
