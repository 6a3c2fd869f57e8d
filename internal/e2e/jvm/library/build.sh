#!/bin/sh
# Makes the class path for TestJVMNodeLibrary: compiles the JVM's Node library
# from a git repository of it, at a tag, and prints what to set. Some minutes.
#
#   internal/e2e/jvm/library/build.sh CLONE [TAG]
#
# Its native libraries come from Maven's registry, where its repository has
# them in Git LFS.
set -eu
clone=$(cd "$1" && pwd)
tag=${2:-0.2.2-alpha}
cd "$(dirname "$0")"
out=$PWD/target/$tag
rm -rf "$out" target/sources
mkdir -p "$out" target/sources/internal

mvn -q -B -f build.xml dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=target/lib
mvn -q -B -f build.xml dependency:copy-dependencies -DincludeScope=provided -DoutputDirectory=target/compiler

git -C "$clone" archive "$tag" src/commonMain/kotlin src/jvmMain/kotlin | tar -x -C target/sources
cat >target/sources/internal/BuildConfig.kt <<END
package internal
object BuildConfig {
    const val VERSION: String = "$tag"
    const val LIBRARY_NAME: String = "crolang-p2p-node"
    const val MY_PLATFORM: String = "JVM"
}
END
jars=$(ls "$PWD"/target/lib/*.jar "$PWD"/../target/lib/*.jar | tr '\n' ':')
java -cp "target/compiler/*:target/lib/*" org.jetbrains.kotlin.cli.jvm.K2JVMCompiler -nowarn \
	-no-stdlib -no-reflect -jvm-target 11 -Xmulti-platform \
	-Xplugin="$(ls target/compiler/kotlin-serialization-compiler-plugin-embeddable-*.jar)" \
	-cp "$jars" -d "$out" target/sources
cp ../target/lib/webrtc-java-*-linux-*.jar "$out"
echo "CROLANG_NODE_LIBRARY='$out:$PWD/target/lib/*'"
