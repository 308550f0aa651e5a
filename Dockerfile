# xvla_ros on the official ROS 2 Jazzy image:  docker build -t xvla_ros .
#   docker run --rm xvla_ros                                    the demo in simulation, headless
#   docker run --rm --net=host --ipc=host xvla_ros ros2 launch xvla_ros bringup.launch.py embodiment:=franka   beside a robot
# --ipc=host: Fast DDS hands images over through shared memory.

# What both stages need. The skipped keys come as pinned wheels into .venv; there is no screen for RViz.
FROM ros:jazzy-ros-base AS ros
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ENV DEBIAN_FRONTEND=noninteractive MUJOCO_GL=egl \
    SKIP="python3-torch python3-transformers-pip python3-mujoco-pip python3-rosbags-pip rviz2"
COPY package.xml /xvla_ros/package.xml
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libegl1 libgl1 libgl1-mesa-dri \
    && rosdep update --rosdistro jazzy \
    && rosdep install --from-paths /xvla_ros --ignore-src -y --rosdistro jazzy --skip-keys "$SKIP" \
        --dependency-types exec \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /xvla_ros

FROM ros AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ make python3-dev python3-pip python3-venv \
    && rosdep install --from-paths /xvla_ros --ignore-src -y --rosdistro jazzy --skip-keys "$SKIP" \
        --dependency-types buildtool --dependency-types build \
    && rm -rf /var/lib/apt/lists/*
COPY scripts/bootstrap scripts/bootstrap.py scripts/
COPY requirements requirements
RUN . /opt/ros/jazzy/setup.bash && scripts/bootstrap
COPY . .
RUN . /opt/ros/jazzy/setup.bash && make build && rm -rf build log

# Without compiler and headers. .venv holds links into the checkout, so both are copied to where they were.
FROM ros
COPY --from=build /xvla_ros /xvla_ros
RUN printf '%s\n' '#!/bin/bash' 'source /opt/ros/jazzy/setup.bash' 'source /xvla_ros/.venv/setup.bash' \
        'exec "$@"' > /entrypoint.sh \
    && chmod +x /entrypoint.sh
ENTRYPOINT ["/entrypoint.sh"]
CMD ["/xvla_ros/.venv/bin/xvla", "demo"]
